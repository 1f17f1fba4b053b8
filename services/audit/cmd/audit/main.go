// Command audit runs the audit service by itself.
package main

import (
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/services/audit"
)

func main() {
	service.Main("audit", audit.DefaultConfig(), audit.Module,
		service.Events{Codec: events.Codec{}, IsDecision: events.IsDecision})
}
