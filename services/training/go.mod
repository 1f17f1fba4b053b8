module github.com/freshet-io/freshet/services/training

go 1.26

require (
	github.com/freshet-io/freshet/contracts v0.0.0
	github.com/freshet-io/freshet/events v0.0.0
	github.com/freshet-io/freshet/libs v0.0.0
	github.com/freshet-io/freshet/libs/testkit v0.0.0
)

replace (
	github.com/freshet-io/freshet/contracts => ../../contracts
	github.com/freshet-io/freshet/events => ../../events
	github.com/freshet-io/freshet/libs => ../../libs
	github.com/freshet-io/freshet/libs/testkit => ../../libs/testkit
)
