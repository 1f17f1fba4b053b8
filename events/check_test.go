package events

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Every check that a contract can ask for, with a value it accepts and one it does not.
func TestChecks(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]func(c *check, good bool){
		"length":   func(c *check, good bool) { c.length("x", pick(good, "äöü", "äöüß"), 1, 3) },
		"NUL":      func(c *check, good bool) { c.length("x", pick(good, "a", "a\x00"), 0, -1) },
		"oneOf":    func(c *check, good bool) { c.oneOf("x", pick(good, "a", "c"), "a", "b") },
		"name":     func(c *check, good bool) { c.name("x", pick(good, "flight-delays", "Flight delays")) },
		"digest":   func(c *check, good bool) { c.digest("x", "sha256:"+strings.Repeat(pick(good, "0", "G"), 64)) },
		"revision": func(c *check, good bool) { c.revision("x", strings.Repeat("a", pick(good, 40, 39))) },
		"atLeast":  func(c *check, good bool) { c.atLeast("x", pick[int64](good, 1, 0), 1) },
		"atMost":   func(c *check, good bool) { c.atMost("x", pick[int64](good, 1, 2), 1) },
		"within":   func(c *check, good bool) { c.within("x", pick(good, 0.5, 1.5), -highest, 1) },
		"finite":   func(c *check, good bool) { c.finite("x", pick(good, 0, math.NaN())) },
		"items":    func(c *check, good bool) { c.items("x", pick(good, 1, 0), 1, -1) },
		"present":  func(c *check, good bool) { c.present("x", good) },
		"time":     func(c *check, good bool) { c.time("x", pick(good, time.Unix(1, 0), time.Time{})) },
	} {
		for _, good := range []bool{true, false} {
			c := &check{}
			c.root = c
			run(c.at("outer"), good)
			err := errors.Join(c.errs...)
			if good {
				require.NoError(t, err, name)
				continue
			}
			require.ErrorIs(t, err, ErrInvalid, name)
			require.ErrorContains(t, err, "outer.x", name)
		}
	}
}

func pick[T any](good bool, yes, no T) T {
	if good {
		return yes
	}
	return no
}
