package deployment

import (
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/deployment/internal/decide"
	"github.com/freshet-io/freshet/services/deployment/internal/state"
)

// Fold is how the service's state follows from the log: its tables, what each event
// changes in them, and what the service decides.
func Fold() (*eventlog.Fold, error) {
	fold := eventlog.NewFold("deployment", state.FoldVersion, state.Tables)
	state.Register(fold)
	decide.Register(fold)
	return fold, nil
}
