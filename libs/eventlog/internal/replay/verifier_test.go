package replay

import (
	"bytes"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/libs/eventlog/internal/engine"
	"github.com/freshet-io/freshet/libs/eventlog/internal/envelope"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// plainCodec is the SDK's JSON; the strict one is not libs'.
type plainCodec struct{}

func (plainCodec) Encode(e event.Event) ([]byte, error) {
	if err := e.Validate(); err != nil {
		return nil, err
	}
	return e.MarshalJSON()
}

func (plainCodec) Decode(b []byte) (event.Event, error) {
	var e event.Event
	if err := e.UnmarshalJSON(b); err != nil {
		return e, err
	}
	return e, e.Validate()
}

// decisionParts is how many choices make a decision.
const decisionParts = 10

// chosenDecision is made of one of a few values for each part.
func chosenDecision(choice []int) event.Event {
	next := 0
	pick := func(values ...any) any {
		next++
		return values[choice[next-1]%len(values)]
	}
	e := envelope.Draft(pick("adder", "other").(string), "doubled", "default", pick("a", "b").(string), []byte(pick(`{"n":1}`, `{"n":2}`).(string)))
	e.SetID(pick("1", "2").(string))
	e.SetSource(envelope.SourcePrefix + "adder")
	e.SetTime(time.Unix(pick(int64(1), int64(2)).(int64), 0))
	e.SetDataContentType(pick(event.ApplicationJSON, "application/problem+json").(string))
	for name, value := range map[string]any{
		envelope.ExtHops:        pick(int32(1), int32(2), "1"),
		envelope.ExtTraceparent: pick(nil, "x", "y"),
		envelope.ExtActor:       pick(nil, "x", "y"),
		"other":                 pick(nil, "eA==", []byte("x")), // the last two are written the same
	} {
		if value != nil {
			e.SetExtension(name, value)
		}
	}
	return e
}

// What is held the same way or another is the same decision if it is written the same.
func TestDecisionsAreTheSameIfTheyAreWrittenTheSame(t *testing.T) {
	t.Parallel()
	j := &verifier{r: &Replay{engine: engine.New(engine.Config{Fold: engine.NewFold("adder", 1, ""), Codec: plainCodec{}})}}
	seen := map[bool]int{}
	rapid.Check(t, func(r *rapid.T) {
		for range 50 {
			choice := rapid.SliceOfN(rapid.IntRange(0, 5), decisionParts, decisionParts).Draw(r, "parts")
			was := chosenDecision(choice)
			for range rapid.IntRange(0, 2).Draw(r, "changes") {
				choice[rapid.IntRange(0, decisionParts-1).Draw(r, "part")] = rapid.IntRange(0, 5).Draw(r, "value")
			}
			is := chosenDecision(choice)
			a, err := j.encode(was)
			require.NoError(r, err)
			b, err := j.encode(is)
			require.NoError(r, err)
			same := bytes.Equal(a, b)
			require.Equal(r, same, j.same(was, is), "%s\n%s", a, b)
			seen[same]++
		}
	})
	require.NotZero(t, seen[true])
	require.NotZero(t, seen[false])
}
