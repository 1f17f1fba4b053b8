package suite

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"

	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/services/audit"
	"github.com/freshet-io/freshet/services/console"
	"github.com/freshet-io/freshet/services/deployment"
	featurestore "github.com/freshet-io/freshet/services/feature-store"
	"github.com/freshet-io/freshet/services/ingestion"
	"github.com/freshet-io/freshet/services/monitoring"
	"github.com/freshet-io/freshet/services/registry"
	"github.com/freshet-io/freshet/services/training"
	"go.uber.org/fx"
)

// definition is one of the suite's services: the same module that its own binary runs.
type definition struct {
	name   string
	module func(lookup func(string) (string, bool)) (fx.Option, error)
}

var definitions = []definition{
	define("audit", audit.DefaultConfig(), audit.Module),
	define("ingestion", ingestion.DefaultConfig(), ingestion.Module),
	define("feature-store", featurestore.DefaultConfig(), featurestore.Module),
	define("training", training.DefaultConfig(), training.Module),
	define("registry", registry.DefaultConfig(), registry.Module),
	define("deployment", deployment.DefaultConfig(), deployment.Module),
	define("monitoring", monitoring.DefaultConfig(), monitoring.Module),
	define("console", console.DefaultConfig(), console.Module),
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
func define[C any](name string, defaults C, module func(C) fx.Option) definition {
	return definition{name, func(lookup func(string) (string, bool)) (fx.Option, error) {
		config := defaults
		err := service.Configure(flag.NewFlagSet(name, flag.ContinueOnError), lookup, &config)
		if v, ok := any(&config).(interface{ Validate() error }); ok {
			err = errors.Join(err, v.Validate())
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return module(config), nil
	}}
}
