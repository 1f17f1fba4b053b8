module github.com/freshet-io/freshet/libs/tools

go 1.26

require (
	github.com/freshet-io/freshet/contracts v0.0.0
	go.yaml.in/yaml/v4 v4.0.0
)

replace github.com/freshet-io/freshet/contracts => ../../contracts
