// Command training runs the training service by itself.
package main

import (
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/services/training"
)

func main() {
	if training.RunBuiltin() {
		return
	}
	service.Main("training", training.DefaultConfig(), training.Module,
		service.Events{Codec: events.Codec{}, IsDecision: events.IsDecision})
}
