// Package decide holds what ingestion decides: which data becomes a commit, which
// code does, and which models are declared by it. Each function reads the fold
// and one event, and returns drafts; nothing else.
package decide

import (
	"github.com/freshet-io/freshet/libs/eventlog"
)

// Register adds every decide to the fold.
func Register(f *eventlog.Fold) {
	eventlog.Decide(f, dataChecked)
	eventlog.Decide(f, codeArchived)
}
