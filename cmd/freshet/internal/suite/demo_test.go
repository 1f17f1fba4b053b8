package suite_test

import (
	"context"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/freshet-io/freshet/cmd/freshet/internal/demo"
	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/services/training"
)

// TestMain lets the test binary be the training jobs that the suite starts.
func TestMain(m *testing.M) {
	if training.RunBuiltin() {
		return
	}
	os.Exit(m.Run())
}

// In the middle of the demo, all services at work, the log's store becomes a copy
// from days before, then it is lost whole; and after it the registry's database becomes
// one from those days.
func TestADemoWhoseStoresAreSetBackGoesOn(t *testing.T) {
	t.Parallel()
	suite.RequireStoresSetBack(t, func(dir string, days int, meanwhile func(time.Time, *suite.Suite) error) error {
		return demo.Run(t.Context(), demo.Options{
			Days: days, DataDir: dir, Listen: "127.0.0.1:0", Out: io.Discard, Logger: slog.New(slog.DiscardHandler),
			Meanwhile: func(_ context.Context, at time.Time, s *suite.Suite) error { return meanwhile(at, s) },
		})
	})
}
