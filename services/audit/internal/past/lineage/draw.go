package lineage

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/services/audit/internal/past/picture"
	"github.com/freshet-io/freshet/services/audit/internal/state"
)

// mostAlike data commits of one training are drawn one by one; more are one box.
const mostAlike = 3

var bad = map[string]bool{
	events.TypeDataRejected: true, events.TypeCodeRejected: true, events.TypeTrainingSetFailed: true, events.TypeRunFailed: true,
	events.TypeCandidateRefused: true, events.TypeModelVersionDenied: true, events.TypeReplicaFailed: true,
	events.TypeRolloutRolledBack: true, events.TypeApprovalDenied: true, events.TypeAlertRaised: true,
}

// Draw writes the answer as a picture: what was asked about at the top, and below it, for
// why, what it depends on, for impact, what followed from it.
func (a Answer) Draw(w io.Writer) error {
	alike := a.alike()
	var boxes []picture.Box
	for _, n := range a.Nodes {
		rest, grouped := alike[n.ID]
		if grouped && rest == nil {
			continue // told by the first of its group
		}
		box := picture.Box{ID: n.ID, Group: serviceOf(n.Type), Head: shortType(n.Type), Aside: date(n.Time), Text: n.Text,
			Bad: bad[n.Type], Asked: n.ID == a.Event, More: n.More}
		if grouped {
			box.Head = fmt.Sprintf("%d data commits", len(rest)+1)
			box.Text = "the last: " + n.Text
		}
		boxes = append(boxes, box)
	}
	lines := make([]picture.Line, len(a.Edges))
	for i, e := range a.Edges {
		lines[i] = picture.Line{Above: e.Effect, Below: e.Cause, Faint: e.Kind != state.Caused}
		if a.Question == Impact {
			lines[i].Above, lines[i].Below = e.Cause, e.Effect
		}
	}
	title := a.Title
	if a.Question == Impact {
		title = fmt.Sprintf("what came of: %s (%d events, %d shown)", a.Title, a.Found, len(a.Nodes)-1)
	}
	return picture.Draw(w, title, boxes, lines)
}

// alike groups data commits that are told for the same training alone. The first of a
// group has the others as its value, the others nil.
func (a Answer) alike() map[string][]string {
	others := map[string]string{} // a node's edges, as one text
	for _, e := range a.Edges {
		others[e.Effect] += "<" + e.Cause
		if e.Kind == state.OfData || e.Kind == state.Contributed {
			others[e.Cause] += ">" + e.Effect
		} else {
			others[e.Cause] += "!" + e.Effect
		}
	}
	groups := map[string][]string{}
	for _, n := range a.Nodes {
		if n.More && n.Type == events.TypeDataCommitted && !strings.ContainsAny(others[n.ID], "<!") {
			effects := strings.Split(others[n.ID], ">")
			slices.Sort(effects)
			key := strings.Join(slices.Compact(effects), ">")
			groups[key] = append(groups[key], n.ID)
		}
	}
	out := map[string][]string{}
	for _, ids := range groups {
		if len(ids) <= mostAlike {
			continue
		}
		out[ids[0]] = ids[1:]
		for _, id := range ids[1:] {
			out[id] = nil
		}
	}
	return out
}

func serviceOf(typ string) string {
	rest, _ := strings.CutPrefix(typ, "io.freshet.")
	name, _, _ := strings.Cut(rest, ".")
	return name
}
