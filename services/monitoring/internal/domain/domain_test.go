package domain

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWindowsAreAlignedAndMissedOnesCollapse(t *testing.T) {
	t.Parallel()
	day := func(d, h int) time.Time { return time.Date(2001, 1, d, h, 0, 0, 0, time.UTC) }
	for name, c := range map[string]struct {
		last, now time.Time
		want      Span
		due       bool
	}{
		"not yet":          {day(6, 5), day(6, 23), Span{}, false},
		"at the boundary":  {day(6, 5), day(7, 0), Span{day(6, 5), day(7, 0), 0}, true},
		"a whole one":      {day(7, 0), day(8, 0), Span{day(7, 0), day(8, 0), 0}, true},
		"late":             {day(7, 0), day(8, 7), Span{day(7, 0), day(8, 0), 0}, true},
		"two were missed":  {day(7, 0), day(10, 1), Span{day(7, 0), day(10, 0), 2}, true},
		"nothing has gone": {day(7, 0), day(7, 0), Span{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, due := Due(c.last, c.now, 24*time.Hour)
			require.Equal(t, c.due, due)
			require.Equal(t, c.want, got)
		})
	}
	_, due := Due(day(6, 0), day(9, 0), 0)
	require.False(t, due, "no window, no watching")
}
