//go:build unix

package postgres

import (
	"log/slog"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFetchesWhereNoneIsFound downloads PostgreSQL, so it runs where it is asked for.
func TestFetchesWhereNoneIsFound(t *testing.T) {
	if os.Getenv("FRESHET_TEST_FETCH") == "" {
		t.Skip("set FRESHET_TEST_FETCH=1 to download PostgreSQL")
	}
	dir, err := fetch(t.Context(), slog.New(slog.NewTextHandler(t.Output(), nil)))
	require.NoError(t, err)
	require.GreaterOrEqual(t, versionOf(t.Context(), dir), oldest)
	again, err := fetch(t.Context(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	require.Equal(t, dir, again)
}
