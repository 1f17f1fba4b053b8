package cli

import (
	"encoding/json"
	"testing"

	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/libs/natsserver"
	"github.com/stretchr/testify/require"
)

func TestTheLogsUsersAreReadAsTheyWerePrinted(t *testing.T) {
	t.Parallel()
	out, err := run(t, "nats-users")
	require.NoError(t, err)
	var users []natsserver.User
	require.NoError(t, json.Unmarshal([]byte(out), &users))
	require.Equal(t, suite.Users(), users)
}
