package console

import (
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/console/internal/state"
)

// Fold is how the service's state follows from the log: its tables, what each event
// changes in them, and what the service decides.
func Fold() (*eventlog.Fold, error) {
	fold := eventlog.NewFold("console", state.FoldVersion, state.Tables)
	state.Register(fold)
	return fold, nil
}
