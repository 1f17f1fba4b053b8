package whatif

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
)

// A timeline is one of the two that a replay compares.
type timeline int

const (
	then timeline = iota // as it was recorded
	now                  // under the changed rules
)

// versions knows a model's versions by the event that registered each. A training that
// does not happen gives other numbers to the versions after it, and they are the same
// versions: a report shows the numbers that were recorded.
type versions struct {
	ids      [2]map[string]string // by model and number
	numbers  [2]map[string]int64  // by id
	diverged bool
}

func newVersions() *versions {
	return &versions{
		ids:     [2]map[string]string{{}, {}},
		numbers: [2]map[string]int64{{}, {}},
	}
}

func versionKey(model string, number int64) string {
	return model + "@" + strconv.FormatInt(number, 10)
}

// register takes the number of a version that an event registers, if it does.
func (v *versions) register(w timeline, e event.Event) {
	if e.Type() != events.TypeModelVersionRegistered {
		return
	}
	p := namesIn(e)
	if p.Version == nil {
		return
	}
	v.ids[w][versionKey(p.model, *p.Version)] = e.ID()
	v.numbers[w][e.ID()] = *p.Version
	if was, known := v.numbers[then][e.ID()]; w == now && known && was != *p.Version {
		v.diverged = true
	}
}

// id is the event that registered a version; empty if none did.
func (v *versions) id(w timeline, model string, number int64) string {
	return v.ids[w][versionKey(model, number)]
}

// renumber gives the versions that an event of one timeline names the numbers of the other.
func (v *versions) renumber(e event.Event, from, to timeline) event.Event {
	model := namesIn(e).model
	if !v.diverged || model == "" {
		return e
	}
	fields := map[string]any{}
	numbers := json.NewDecoder(bytes.NewReader(e.Data()))
	numbers.UseNumber() // so that every other number stays as it is written
	if numbers.Decode(&fields) != nil {
		return e
	}
	if _, view := fields["view"]; view {
		return e
	}
	change := func(in map[string]any, name string) {
		n, ok := in[name].(json.Number)
		if !ok {
			return
		}
		number, err := n.Int64()
		if other, known := v.numbers[to][v.id(from, model, number)]; err == nil && known {
			in[name] = other
		}
	}
	for _, name := range []string{"version", "previous", "champion"} {
		change(fields, name)
	}
	if champion, ok := fields["champion"].(map[string]any); ok {
		change(champion, "version")
	}
	slices, _ := fields["slices"].([]any)
	for _, s := range slices {
		if slice, ok := s.(map[string]any); ok {
			change(slice, "version")
		}
	}
	b, err := json.Marshal(fields)
	if err != nil {
		return e
	}
	out := e.Clone()
	out.DataEncoded = b
	return out
}

// names are what a payload names. The model is with its namespace.
type names struct {
	model string

	Model        string   `json:"model"`
	Environment  string   `json:"environment"`
	Version      *int64   `json:"version"`
	View         string   `json:"view"`
	Rollout      string   `json:"rollout"`
	Run          string   `json:"run"`
	Request      string   `json:"request"`
	Weight       int64    `json:"weight"`
	Contributors []string `json:"contributors"`
}

func namesIn(e event.Event) names {
	var n names
	var other *json.UnmarshalTypeError // a field of the same name that is something else, as an approval's rollout
	if err := json.Unmarshal(e.Data(), &n); err != nil && !errors.As(err, &other) {
		return names{}
	}
	if n.Model != "" {
		n.model = eventlog.Namespace(e) + "/" + n.Model
	}
	return n
}
