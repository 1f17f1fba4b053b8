// Command ingestion runs the ingestion service by itself.
package main

import (
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/services/ingestion"
)

func main() {
	service.Main("ingestion", ingestion.DefaultConfig(), ingestion.Module, service.Events{Codec: events.Codec{}, IsDecision: events.IsDecision})
}
