package edge

import (
	"testing"

	"github.com/freshet-io/freshet/services/audit/internal/state"
	"github.com/stretchr/testify/require"
)

func TestAPageEndsBetweenMessages(t *testing.T) {
	t.Parallel()
	page := func(sequences ...int64) []state.Entry {
		var p []state.Entry
		for _, s := range sequences {
			p = append(p, state.Entry{Sequence: s})
		}
		return p
	}
	require.Equal(t, page(1, 2, 2), whole(page(1, 2, 2, 3, 3)))
	require.Equal(t, page(1, 2), whole(page(1, 2, 3)))
	require.Empty(t, whole(page(3, 3)), "a message larger than a page takes a larger page")
	require.Empty(t, whole(nil))
}
