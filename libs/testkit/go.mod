module github.com/freshet-io/freshet/libs/testkit

go 1.26

require (
	github.com/freshet-io/freshet/libs v0.0.0
)

replace (
	github.com/freshet-io/freshet/libs => ..
)
