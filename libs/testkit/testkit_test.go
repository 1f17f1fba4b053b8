package testkit_test

import (
	"fmt"
	"testing"

	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/stretchr/testify/require"
)

func TestPostgresIsTheTestsOwn(t *testing.T) {
	t.Parallel()
	for i := range 4 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			_, err := testkit.Postgres(t).Exec(t.Context(), "CREATE TABLE only_here (id int)")
			require.NoError(t, err)
		})
	}
}
