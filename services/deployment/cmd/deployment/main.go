// Command deployment runs the deployment service by itself.
package main

import (
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/services/deployment"
)

func main() {
	service.Main("deployment", deployment.DefaultConfig(), deployment.Module, service.Events{Codec: events.Codec{}, IsDecision: events.IsDecision})
}
