// Command registry runs the registry service by itself.
package main

import (
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/services/registry"
)

func main() {
	service.Main("registry", registry.DefaultConfig(), registry.Module,
		service.Events{Codec: events.Codec{}, IsDecision: events.IsDecision})
}
