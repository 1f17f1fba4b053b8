// Command feature-store runs the feature store service by itself.
package main

import (
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/service"
	featurestore "github.com/freshet-io/freshet/services/feature-store"
)

func main() {
	service.Main("feature-store", featurestore.DefaultConfig(), featurestore.Module,
		service.Events{Codec: events.Codec{}, IsDecision: events.IsDecision})
}
