package service

import (
	"context"
	"errors"
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/stretchr/testify/require"
	"go.uber.org/fx"
)

// queue is what the parts of a module are constructed from.
type queue struct{ waiting int64 }

func (q *queue) run(context.Context) error             { return nil }
func (q *queue) behind(context.Context) (int64, error) { return q.waiting, nil }

func queueLoop(q *queue) Loop         { return Loop{Name: "queue", Run: q.run, Behind: q.behind} }
func timerLoop() (Loop, error)        { return Loop{Name: "timer"}, nil }
func queueCheck(*queue) Check         { return Check{Name: "queue"} }
func work1(*queue) eventlog.Handler   { return eventlog.Handler{Kind: "one"} }
func work2() eventlog.Handler         { return eventlog.Handler{Kind: "two"} }
func brokenLoop(*queue) (Loop, error) { return Loop{}, errors.New("no such queue") }

func TestPartsOfAModuleAreConstructedFromItsGraph(t *testing.T) {
	t.Parallel()
	files := fstest.MapFS{"migrations/001_queue.sql": {Data: []byte("-- +goose Up\n")}}
	var got struct {
		fx.In
		Loops      []Loop             `group:"loops"`
		Checks     []Check            `group:"checks"`
		Handlers   []eventlog.Handler `group:"effects"`
		Migrations []fs.FS            `group:"migrations"`
	}
	app := fx.New(fx.NopLogger, fx.Supply(&queue{waiting: 3}), fx.Populate(&got),
		Loops(queueLoop, timerLoop), Checks(queueCheck), Effects(work1, work2), Migrations(files))
	require.NoError(t, app.Err())
	require.Len(t, got.Loops, 2)
	require.Len(t, got.Checks, 1)
	require.Len(t, got.Handlers, 2)
	require.Equal(t, []fs.FS{files}, got.Migrations)
	for _, l := range got.Loops {
		if l.Name == "queue" {
			n, err := l.Behind(t.Context())
			require.NoError(t, err)
			require.EqualValues(t, 3, n)
		}
	}

	app = fx.New(fx.NopLogger, fx.Supply(&queue{}), Loops(brokenLoop), fx.Invoke(func(work struct {
		fx.In
		Loops []Loop `group:"loops"`
	}) {
	}))
	require.ErrorContains(t, app.Err(), "no such queue")
}
