// Command monitoring runs the monitoring service by itself.
package main

import (
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/services/monitoring"
)

func main() {
	service.Main("monitoring", monitoring.DefaultConfig(), monitoring.Module, service.Events{Codec: events.Codec{}, IsDecision: events.IsDecision})
}
