package service

import (
	"context"
	"io/fs"

	"github.com/freshet-io/freshet/libs/eventlog"
	"go.uber.org/fx"
)

// Module is what a service contributes: an fx option, so that only wiring names fx.
type Module = fx.Option

// Modules are several as one.
func Modules(all ...Module) Module { return fx.Options(all...) }

// Events is the language that services speak: the events module's codec and its
// division into facts and decisions. libs know no event of their own.
type Events struct {
	Codec      eventlog.Codec        // events.Codec{}
	IsDecision func(typ string) bool // events.IsDecision
}

// A Loop is long-running work of a service: started when the log is live,
// restarted with growing pauses when it fails, stopped by its context.
type Loop struct {
	Name string
	Run  func(ctx context.Context) error
	// Behind says how much of its work waits or is in flight; 0 when there is none. A
	// loop whose work is never behind has no Behind.
	Behind func(ctx context.Context) (int64, error)
}

// A Check says what keeps a service from doing its work, of which the library knows
// nothing; /readyz tells it under the name. It is asked often, and quick.
type Check struct {
	Name string
	Find func(ctx context.Context) error
}

// Groups of a module's graph. Only the functions below and build know their names.
const (
	effectsGroup    = `group:"effects"`
	loopsGroup      = `group:"loops"`
	checksGroup     = `group:"checks"`
	migrationsGroup = `group:"migrations"`
)

// Effects adds slow work to a module: each constructor returns an eventlog.Handler.
func Effects(constructors ...any) Module { return provide(effectsGroup, constructors) }

// Loops adds long-running work to a module: each constructor returns a Loop.
func Loops(constructors ...any) Module { return provide(loopsGroup, constructors) }

// Checks adds to what /readyz asks: each constructor returns a Check.
func Checks(constructors ...any) Module { return provide(checksGroup, constructors) }

// Migrations adds the service's data tables, those that are not folded from the log:
// goose migrations, migrations/NNN_name.sql of files. They live in the schema
// <service>_data. A service has one set of them.
func Migrations(files fs.FS) Module {
	return fx.Provide(fx.Annotate(func() fs.FS { return files }, fx.ResultTags(migrationsGroup)))
}

func provide(group string, constructors []any) Module {
	all := make([]any, len(constructors))
	for i, c := range constructors {
		all[i] = fx.Annotate(c, fx.ResultTags(group))
	}
	return fx.Provide(all...)
}

// Paths are directories that a service may write to.
type Paths struct {
	DataDir string // kept; the service's own
	TempDir string // emptied at every start
}

// URLs say where things answer.
type URLs struct {
	Suite string // where all services' routes are mounted, without a trailing slash
	Token string // sent with requests to it; empty where it lets in everybody
}
