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
// restarted with growing pauses when it fails, stopped by its context. Provide it
// in the fx group "loops".
type Loop struct {
	Name string
	Run  func(ctx context.Context) error
}

// A Progress says how much work waits or is in flight; 0 when there is none.
// Provide it in the fx group "progress".
type Progress struct {
	Name   string
	Behind func(ctx context.Context) (int64, error)
}

// A Check says what keeps a service from doing its work, of which the library knows
// nothing; /readyz tells it under the name. It is asked often, and quick. Provide it in
// the fx group "checks".
type Check struct {
	Name string
	Find func(ctx context.Context) error
}

// Migrations are goose migrations (NNN_name.sql in the root of FS) of a service's
// data tables: those that are not folded from the log. They live in the schema
// <service>_data. Provide them in the fx group "migrations".
type Migrations struct {
	FS fs.FS
}

// Paths are directories that a service may write to.
type Paths struct {
	DataDir string // kept; the service's own
	TempDir string // emptied at every start
}

// URLs say where things answer.
type URLs struct {
	Suite string // where all services' routes are mounted, without a trailing slash
}
