package suite

import (
	"context"

	"github.com/freshet-io/freshet/libs/objects"
)

// Objects opens the suite's objects.
func (s *Suite) Objects(ctx context.Context) (*objects.Store, error) {
	return objects.Open(ctx, s.infra.objects())
}
