package suite

import (
	"errors"
	"fmt"

	"github.com/freshet-io/freshet/libs/eventlog"
)

// Folds are the services' folds, by service. Nothing runs: who has them can fold a
// log, and no more.
func Folds() (map[string]*eventlog.Fold, error) {
	found := map[string]*eventlog.Fold{}
	var errs []error
	for _, d := range definitions {
		fold, err := d.fold()
		if err != nil {
			errs = append(errs, fmt.Errorf("the fold of %s: %w", d.name, err))
			continue
		}
		found[d.name] = fold
	}
	return found, errors.Join(errs...)
}
