package suite

import (
	"os"

	"errors"
	"fmt"

	"github.com/freshet-io/freshet/libs/eventlog"
	"go.uber.org/fx"
)

// Folds are the folds that the services' modules provide, by service. Nothing
// runs: who has them can fold a log, and no more.
func Folds() (map[string]*eventlog.Fold, error) {
	found := map[string]*eventlog.Fold{}
	var errs []error
	for _, d := range definitions {
		module, err := d.module(os.LookupEnv)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		var fold *eventlog.Fold
		// A module's own invocations need a running service and fail here; ours
		// comes first, and takes what the fold needs and nothing else.
		app := fx.New(fx.NopLogger, fx.Module("first", fx.Populate(&fold)), module)
		if fold == nil {
			errs = append(errs, fmt.Errorf("%s provides no fold: %w", d.name, app.Err()))
			continue
		}
		found[d.name] = fold
	}
	return found, errors.Join(errs...)
}
