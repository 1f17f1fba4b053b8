// Command console runs the console service by itself.
package main

import (
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/services/console"
)

func main() {
	service.Main("console", console.DefaultConfig(), console.Module,
		service.Events{Codec: events.Codec{}, IsDecision: events.IsDecision})
}
