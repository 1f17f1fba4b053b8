package statistics_test

import (
	"math"
	"testing"

	"github.com/freshet-io/freshet/libs/statistics"
	"github.com/stretchr/testify/require"
)

func TestAUCOfTies(t *testing.T) {
	t.Parallel()
	require.InDelta(t, 0.875, statistics.AUC([]bool{false, true, false, true}, []float64{0.1, 0.4, 0.4, 0.8}), 0)
	require.True(t, math.IsNaN(statistics.AUC([]bool{true}, []float64{1})))
}
