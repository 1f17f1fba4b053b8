package whatif

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
)

// A Report is what would have been different. Versions have the numbers that were
// recorded.
type Report struct {
	Model    string   `json:"model"`
	From     uint64   `json:"from"` // position from which the changed rules hold
	To       uint64   `json:"to"`
	Beyond   []string `json:"beyond,omitempty"` // what the changed definition has besides rules; left out
	Kept     int      `json:"kept"`             // facts, and decisions of services that do not decide by rules
	Dropped  int      `json:"dropped"`          // events that do not happen
	Unknown  int      `json:"unknown"`          // events whose outcome is unknown
	Compared int      `json:"compared"`         // decisions
	Alike    int      `json:"alike"`            // of them, those that quote other rules and decide the same
	Lost     *Lost    `json:"lost,omitempty"`
	Branches []Branch `json:"branches"` // ripples that differ, in the order in which they began
}

// Lost is where the outcome of the model becomes unknown.
type Lost struct {
	At   uint64    `json:"at"`
	Time time.Time `json:"time"`
	Why  string    `json:"why"`
}

// A Branch is a ripple that differs: a decision differs, or the ripple does not happen
// or is unknown, in whole or in part.
type Branch struct {
	Ripple  string      `json:"ripple"`
	Began   time.Time   `json:"time"` // of its first event in the replay
	First   *Difference `json:"first"`
	Differ  int         `json:"differ"`  // events on which was decided differently
	Dropped int         `json:"dropped"` // of its recorded events, those that do not happen
	Unknown int         `json:"unknown"` // and those that are unknown
	Ends    []End       `json:"ends,omitempty"`
}

// An End is where a branch differs from the recorded ripple without a decision that differs.
type End struct {
	At      uint64 `json:"at"`
	Unknown bool   `json:"unknown"` // else it does not happen
	Why     string `json:"why"`
}

// end notes a reason once.
func (b *Branch) end(e End) {
	if !slices.Contains(b.Ends, e) {
		b.Ends = append(b.Ends, e)
	}
}

// A Difference is where one service decides differently on one event.
type Difference struct {
	At      uint64  `json:"at"` // in the log
	Service string  `json:"service"`
	On      Brief   `json:"on"`
	Then    []Brief `json:"then"`    // recorded, and not decided again
	Instead []Brief `json:"instead"` // decided under the changed rules
	Failed  string  `json:"failed,omitempty"`
}

// A Brief is an event in short.
type Brief struct {
	ID      string          `json:"id"`
	Type    string          `json:"type"`
	Subject string          `json:"subject"`
	Time    time.Time       `json:"time"`
	Data    json.RawMessage `json:"data"`
}

func brief(e event.Event) Brief {
	return Brief{ID: e.ID(), Type: e.Type(), Subject: e.Subject(), Time: e.Time(), Data: json.RawMessage(e.Data())}
}

// finish orders the branches.
func (r *Report) finish(branches map[string]*Branch) {
	r.Branches = []Branch{}
	for _, b := range branches {
		if b.First != nil || b.Dropped+b.Unknown+len(b.Ends) > 0 {
			r.Branches = append(r.Branches, *b)
		}
	}
	slices.SortFunc(r.Branches, func(a, b Branch) int {
		return cmp.Or(a.Began.Compare(b.Began), cmp.Compare(a.Ripple, b.Ripple))
	})
}

// Write prints the report for people.
func (r *Report) Write(w io.Writer) error {
	var b bytes.Buffer
	if len(r.Beyond) > 0 {
		fmt.Fprintf(&b, "left out, because it would need runs that never happened: %s\n", strings.Join(r.Beyond, ", "))
	}
	fmt.Fprintf(&b, "%s, from %d to %d of the log: %d events kept, %d decisions made again\n", r.Model, r.From, r.To, r.Kept, r.Compared)
	another, unknown := 0, 0
	for _, one := range r.Branches {
		switch {
		case one.First != nil:
			another++
		case one.onlyUnknown():
			unknown++
		}
	}
	if len(r.Branches) == 0 && r.Lost == nil {
		b.WriteString("no decision differs\n")
	} else {
		fmt.Fprintf(&b, "%s; %s\n", ripples(another), left(r.Dropped, r.Unknown))
	}
	if r.Alike > 0 {
		fmt.Fprintf(&b, "%d decisions quote other rules and decide the same\n", r.Alike)
	}
	if r.Lost != nil {
		fmt.Fprintf(&b, "the outcome of %s is unknown from %d on, %s: %s\n", r.Model, r.Lost.At, r.Lost.Time.UTC().Format(dayTime), r.Lost.Why)
	}
	for _, one := range r.Branches {
		if !one.onlyUnknown() {
			one.write(&b)
		}
	}
	if unknown > 0 {
		fmt.Fprintf(&b, "\n%d other ripples are unknown in part or in whole (-o json shows them)\n", unknown)
	}
	_, err := w.Write(b.Bytes())
	return err
}

const dayTime = "2 Jan 2006 15:04"

func ripples(n int) string {
	if n == 1 {
		return "1 ripple differs"
	}
	return fmt.Sprintf("%d ripples differ", n)
}

// onlyUnknown reports whether a branch has unknown events and nothing else.
func (b *Branch) onlyUnknown() bool { return b.First == nil && b.Dropped == 0 }

func (b *Branch) write(w *bytes.Buffer) {
	fmt.Fprintf(w, "\n%s  ripple %s\n", b.Began.UTC().Format(dayTime), b.Ripple)
	if d := b.First; d != nil {
		fmt.Fprintf(w, "  %s, on %s of %s at %d:\n", d.Service, short(d.On.Type), d.On.Subject, d.At)
		side(w, "then", d.Then, d.Instead)
		side(w, "what if", d.Instead, d.Then)
		if d.Failed != "" {
			fmt.Fprintf(w, "    the event cannot be applied: %s\n", d.Failed)
		}
		if b.Differ > 1 {
			fmt.Fprintf(w, "    and %d more in this ripple\n", b.Differ-1)
		}
	}
	for _, e := range b.Ends {
		how := "does not happen"
		if e.Unknown {
			how = "unknown from here"
		}
		fmt.Fprintf(w, "  %s: %s\n", how, e.Why)
	}
	if b.Dropped+b.Unknown > 0 {
		fmt.Fprintf(w, "  %s\n", left(b.Dropped, b.Unknown))
	}
}

// left counts the recorded events that are left out.
func left(dropped, unknown int) string {
	words := fmt.Sprintf("%d recorded events do not happen", dropped)
	switch {
	case dropped == 0 && unknown > 0:
		return fmt.Sprintf("%d recorded events are unknown", unknown)
	case dropped == 1:
		words = "1 recorded event does not happen"
	}
	if unknown > 0 {
		words += fmt.Sprintf(", and %d are unknown", unknown)
	}
	return words
}

func side(w *bytes.Buffer, name string, events, others []Brief) {
	if len(events) == 0 {
		fmt.Fprintf(w, "    %-8s nothing\n", name)
		return
	}
	for _, e := range events {
		var other json.RawMessage
		for _, o := range others {
			if o.ID == e.ID {
				other = o.Data
			}
		}
		fmt.Fprintf(w, "    %-8s %s%s\n", name, short(e.Type), differing(e.Data, other))
		name = ""
	}
}

// differing are the fields of an event that differ from another version of it; where
// there is no other, those that fit a line.
func differing(data, other json.RawMessage) string {
	var fields, others map[string]json.RawMessage
	if json.Unmarshal(data, &fields) != nil || other != nil && json.Unmarshal(other, &others) != nil {
		return ""
	}
	var out strings.Builder
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		if others != nil && sameData(fields[k], others[k]) {
			continue
		}
		switch text := inShort(fields[k]); {
		case text != "":
			fmt.Fprintf(&out, "  %s: %s", k, text)
		case others != nil && len(fields[k]) <= longestField:
			fmt.Fprintf(&out, "  %s: %s", k, fields[k])
		case others != nil:
			fmt.Fprintf(&out, "  %s: …", k)
		}
	}
	return out.String()
}

// longestField is what a line holds of one field.
const longestField = 80

// inShort is a value that fits a line, or the outcome of gates.
func inShort(v json.RawMessage) string {
	var gates []struct {
		Name   string
		Passed *bool
	}
	if json.Unmarshal(v, &gates) == nil {
		var words []string
		for _, g := range gates {
			switch {
			case g.Name == "" || g.Passed == nil:
				return ""
			case *g.Passed:
				words = append(words, g.Name+" passed")
			default:
				words = append(words, g.Name+" failed")
			}
		}
		return strings.Join(words, ", ")
	}
	if len(v) > longestField || v[0] == '{' || v[0] == '[' || bytes.HasPrefix(v, []byte(`"sha256:`)) {
		return ""
	}
	return string(v)
}

func short(typ string) string { return typ[strings.LastIndexByte(typ, '.')+1:] }
