module github.com/freshet-io/freshet/cmd/freshet

go 1.26.0

require (
	github.com/freshet-io/freshet/contracts v0.0.0
	github.com/freshet-io/freshet/events v0.0.0
	github.com/freshet-io/freshet/examples/flight-delays v0.0.0
	github.com/freshet-io/freshet/libs v0.0.0
	github.com/freshet-io/freshet/libs/testkit v0.0.0
	github.com/freshet-io/freshet/services/audit v0.0.0
	github.com/freshet-io/freshet/services/console v0.0.0
	github.com/freshet-io/freshet/services/deployment v0.0.0
	github.com/freshet-io/freshet/services/feature-store v0.0.0
	github.com/freshet-io/freshet/services/ingestion v0.0.0
	github.com/freshet-io/freshet/services/monitoring v0.0.0
	github.com/freshet-io/freshet/services/registry v0.0.0
	github.com/freshet-io/freshet/services/training v0.0.0
)

require (
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/spf13/cobra v1.10.2 // indirect
	github.com/spf13/pflag v1.0.9 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
)

replace (
	github.com/freshet-io/freshet/contracts => ../../contracts
	github.com/freshet-io/freshet/events => ../../events
	github.com/freshet-io/freshet/libs => ../../libs
	github.com/freshet-io/freshet/libs/testkit => ../../libs/testkit
	github.com/freshet-io/freshet/services/audit => ../../services/audit
	github.com/freshet-io/freshet/services/console => ../../services/console
	github.com/freshet-io/freshet/services/deployment => ../../services/deployment
	github.com/freshet-io/freshet/services/feature-store => ../../services/feature-store
	github.com/freshet-io/freshet/services/ingestion => ../../services/ingestion
	github.com/freshet-io/freshet/services/monitoring => ../../services/monitoring
	github.com/freshet-io/freshet/services/registry => ../../services/registry
	github.com/freshet-io/freshet/services/training => ../../services/training
)

replace github.com/freshet-io/freshet/examples/flight-delays => ../../examples/flight-delays
