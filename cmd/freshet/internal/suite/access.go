package suite

import (
	"context"

	"github.com/freshet-io/freshet/libs/natsserver"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/nats-io/nats.go"
)

// Log connects to the log as its auditor, who may read it all and publish nothing
// but audit's own events.
func (s *Suite) Log() (*nats.Conn, error) {
	const user = "audit"
	return nats.Connect(s.infra.nats.URL(user), nats.Name("reader of the log"), nats.CustomInboxPrefix(natsserver.InboxPrefix(user)))
}

// Objects opens the suite's objects.
func (s *Suite) Objects(ctx context.Context) (*objects.Store, error) {
	return objects.Open(ctx, s.infra.objects())
}
