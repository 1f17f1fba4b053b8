package suite

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"

	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/service"
	"go.uber.org/fx"
)

// definition is one of the suite's services: the same module that its own binary runs,
// and the patterns of its routes, for what a suite says where it does not run.
type definition struct {
	name   string
	fold   func() (*eventlog.Fold, error)
	module func(lookup func(string) (string, bool)) (fx.Option, error)
	routes []string
}

// Names are the services' names.
func Names() []string {
	names := make([]string, len(definitions))
	for i, d := range definitions {
		names[i] = d.name
	}
	return names
}

// lookup is a suite's environment: the log is trimmed before its server's store is
// full, unless somebody says otherwise.
func (i *Infrastructure) lookup(name string) (string, bool) {
	value, ok := os.LookupEnv(name)
	if !ok && name == "FRESHET_AUDIT_LOG_BYTES" {
		return strconv.FormatInt(i.nats.MaxStore()/10*8, 10), true
	}
	return value, ok
}

// define takes a service's configuration from the environment.
func define[C any](name string, fold func() (*eventlog.Fold, error), defaults C, module func(C) fx.Option, routes ...string) definition {
	return definition{name, fold, func(lookup func(string) (string, bool)) (fx.Option, error) {
		config := defaults
		err := service.Configure(flag.NewFlagSet(name, flag.ContinueOnError), lookup, &config)
		if v, ok := any(&config).(interface{ Validate() error }); ok {
			err = errors.Join(err, v.Validate())
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return module(config), nil
	}, routes}
}
