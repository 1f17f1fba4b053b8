// Package asof answers how everything stood at one position of the log: what had been
// committed, declared and computed, which versions served with how much traffic, which
// requests waited for a person and which alerts were open. A time stands for the last
// position before the suite's time passed it.
//
// # Guarantees
//
// An answer about a position depends only on the log's events up to that position, so it
// never changes. It holds what the owning services answer once they have applied the log
// up to there, under the same names.
//
// # How it fails
//
// ErrBadPoint: the position is not in the index yet, the time has not come yet, or what
// was asked is neither. ErrUnknownModel: the model did not exist at that position.
package asof

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/services/audit/internal/state"
)

// mostCommits of each dataset are told; their number is told of all.
const mostCommits = 100

// ErrBadPoint: what was asked is no point of the log that there is yet.
var ErrBadPoint = errors.New("no point of the log")

// ErrUnknownModel: the model did not exist then.
var ErrUnknownModel = errors.New("unknown model")

// An Item is how one thing stood.
type Item map[string]any

// An Answer is how everything stood.
type Answer struct {
	Namespace    string    `json:"namespace"`
	Asked        string    `json:"asked"`
	Position     int64     `json:"position"` // the last event that counts
	Time         time.Time `json:"time"`     // the suite's, there
	Model        string    `json:"model,omitempty"`
	Models       []Item    `json:"models"`
	Champions    []Item    `json:"champions"`
	Environments []Item    `json:"environments"`
	Rollouts     []Item    `json:"rollouts"` // open
	Approvals    []Item    `json:"approvals"`
	Alerts       []Item    `json:"alerts"`    // open
	Trainings    []Item    `json:"trainings"` // under way
	Versions     []Item    `json:"versions"`
	Datasets     []Item    `json:"datasets"`
	Views        []Item    `json:"views"`
	// Truncated says that some list is not whole.
	Truncated bool `json:"truncated,omitempty"`
}

// layouts of a time that people write; a time without a zone is UTC.
var layouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"}

// Position finds the position that a point stands for: a position, a time, or now. End is
// as far as the index is, and now the suite's time.
func Position(ctx context.Context, r eventlog.Reader, point string, end int64, now time.Time) (int64, error) {
	if point == "" || point == "now" {
		return end, nil
	}
	if n, err := strconv.ParseInt(point, 10, 64); err == nil {
		if n < 0 || n > end {
			return 0, fmt.Errorf("%w: position %d; the log that is indexed goes from 1 to %d", ErrBadPoint, n, end)
		}
		return n, nil
	}
	for _, layout := range layouts {
		at, err := time.Parse(layout, point)
		if err != nil {
			continue
		}
		if at.After(now) {
			return 0, fmt.Errorf("%w: %s has not come yet; the suite's time is %s", ErrBadPoint, point, now.UTC().Format(time.RFC3339))
		}
		return state.PositionAt(ctx, r, at, end)
	}
	return 0, fmt.Errorf("%w: %q; write a position such as 812, a time such as 2001-01-26T08:00:00Z, or now", ErrBadPoint, point)
}

// At answers for a position, about everything or about one model and the data and
// features that it is made of. At most limit items of each kind are told: what has waited,
// alarmed or been under way for longest, the newest versions, else the first by name.
func At(ctx context.Context, r eventlog.Reader, namespace, asked, model string, position int64, limit int) (Answer, error) {
	a := Answer{Namespace: namespace, Asked: asked, Position: position, Model: model}
	var err error
	if a.Time, err = state.TimeAt(ctx, r, position); err != nil {
		return a, err
	}
	rows, err := state.Stood(ctx, r, namespace, position, model)
	if err != nil {
		return a, err
	}
	kinds := map[string][]Item{}
	for _, row := range rows {
		item, err := decoded(row.Value)
		if err != nil {
			return a, fmt.Errorf("%s %s: %w", row.Kind, row.Key, err)
		}
		kinds[row.Kind] = append(kinds[row.Kind], item)
	}
	if model != "" && len(kinds[state.Models]) == 0 {
		return a, ErrUnknownModel
	}
	a.Models, a.Champions, a.Environments = some(kinds[state.Models]), some(kinds[state.Champions]), some(kinds[state.Environments])
	a.Rollouts, a.Approvals, a.Alerts, a.Trainings = some(kinds[state.Rollouts]), some(kinds[state.Approvals]), some(kinds[state.Alerts]),
		some(kinds[state.Trainings])
	sortBy(a.Approvals, "since")
	sortBy(a.Alerts, "raised")
	sortBy(a.Trainings, "requested_at")
	a.together()
	a.Versions = versions(kinds[state.Versions], kinds[state.Stages])
	a.Datasets, a.Views = some(kinds[state.Datasets]), some(kinds[state.Views])
	if model != "" {
		a.only(kinds[state.Models][0])
	}
	a.cut(limit)
	if err := datasets(ctx, r, namespace, position, a.Datasets); err != nil {
		return a, err
	}
	return a, views(ctx, r, namespace, position, a.Views)
}

// cut leaves so many items of each kind, once they are sorted and complete each other.
func (a *Answer) cut(limit int) {
	for _, list := range []*[]Item{&a.Models, &a.Champions, &a.Environments, &a.Rollouts, &a.Approvals, &a.Alerts, &a.Trainings, &a.Versions,
		&a.Datasets, &a.Views} {
		if len(*list) > limit {
			*list, a.Truncated = (*list)[:limit], true
		}
	}
}

// together completes items by what others say: a model's champions and how long a person
// has been awaited, and who gets which share of an environment's traffic.
func (a *Answer) together() {
	champions, waiting, withdrawn := map[string][]Item{}, map[string]any{}, map[string]bool{}
	for _, c := range a.Champions {
		rest := maps.Clone(c)
		delete(rest, "model")
		champions[c.text("model")] = append(champions[c.text("model")], rest)
	}
	for _, w := range slices.Backward(a.Approvals) { // the longest wait comes first
		waiting[w.text("model")] = w["since"]
	}
	for _, m := range a.Models {
		name := m.text("model")
		m["champions"] = some(champions[name])
		if m["latest"] == nil {
			m["latest"] = json.Number("0")
		}
		if since, waits := waiting[name]; waits {
			m["waiting_since"] = since
		}
		withdrawn[name] = m["withdrawn"] == true
	}
	for _, e := range a.Environments {
		if withdrawn[e.text("model")] {
			e["withdrawn"] = true
		}
		e["traffic"] = traffic(e)
	}
}

// traffic is what each version gets, in per cent.
func traffic(e Item) []Item {
	weight, _ := strconv.ParseInt(fmt.Sprint(e["weight"]), 10, 64) // written by the fold
	out := []Item{}
	if v := e["version"]; v != nil {
		out = append(out, Item{"version": v, "per_cent": 100 - weight})
	}
	if v := e["candidate"]; v != nil && weight > 0 {
		out = append(out, Item{"version": v, "per_cent": weight})
	}
	return out
}

// versions are each model's, the newest first, with where they stood in each environment.
func versions(all, stages []Item) []Item {
	key := func(i Item) string { return i.text("model") + "@" + i.text("version") }
	stood := map[string][]Item{}
	for _, s := range stages {
		stood[key(s)] = append(stood[key(s)], s)
	}
	number := func(i Item) int64 {
		n, _ := strconv.ParseInt(i.text("version"), 10, 64) // written by the fold
		return n
	}
	slices.SortStableFunc(all, func(a, b Item) int {
		if d := strings.Compare(a.text("model"), b.text("model")); d != 0 {
			return d
		}
		return int(number(b) - number(a))
	})
	for _, v := range all {
		at := []Item{}
		for _, s := range stood[key(v)] {
			at = append(at, Item{"environment": s["environment"], "stage": s["stage"], "reason": s.text("reason"), "at": s["at"], "event": s["event"]})
		}
		sortBy(at, "at")
		v["stages"] = at
	}
	return some(all)
}

// datasets completes them by their commits.
func datasets(ctx context.Context, r eventlog.Reader, namespace string, position int64, all []Item) error {
	for _, d := range all {
		commits, err := state.Commits(ctx, r, namespace, d.text("dataset"), position, mostCommits)
		if err != nil {
			return err
		}
		d["commits"], d["rows"], d["newest"] = int64(0), int64(0), []state.DataCommit{}
		if len(commits) > 0 {
			head := commits[0]
			d["commits"], d["commit"], d["rows"], d["newest"] = head.Number, head.Commit, head.Rows, commits
			if head.MaxTime != nil {
				d["max_time"] = head.MaxTime
			}
		}
	}
	return nil
}

// views completes them by what had been computed of each.
func views(ctx context.Context, r eventlog.Reader, namespace string, position int64, all []Item) error {
	for _, v := range all {
		version, _ := strconv.ParseInt(v.text("version"), 10, 64) // written by the fold
		m, err := state.MaterialisedOf(ctx, r, namespace, v.text("view"), version, position)
		if err != nil {
			return err
		}
		v["commits"], v["rows"] = m.Commits, m.Rows
		if m.Through != nil {
			v["through"] = m.Through
		}
		if m.LastComputed != nil {
			v["last_computed"] = m.LastComputed
		}
		if m.LastError != "" {
			v["last_error"] = m.LastError
		}
	}
	return nil
}

// only keeps the data and the features that a model is made of.
func (a *Answer) only(model Item) {
	names, data := map[string]bool{}, map[string]bool{model.text("dataset"): true}
	used, _ := model["features"].([]any)
	for _, u := range used {
		if use, ok := u.(map[string]any); ok {
			names[Item(use).text("view")] = true
		}
	}
	a.Views = slices.DeleteFunc(a.Views, func(v Item) bool { return !names[v.text("view")] })
	for _, v := range a.Views {
		if spec, ok := v["spec"].(map[string]any); ok {
			data[Item(spec).text("dataset")] = true
		}
	}
	a.Datasets = slices.DeleteFunc(a.Datasets, func(d Item) bool { return !data[d.text("dataset")] })
}

func (i Item) text(key string) string {
	if v := i[key]; v != nil {
		return fmt.Sprint(v)
	}
	return ""
}

// sortBy sorts by a time, the earliest first.
func sortBy(items []Item, key string) {
	at := func(i Item) time.Time {
		t, _ := time.Parse(time.RFC3339Nano, i.text(key)) // written by the fold
		return t
	}
	slices.SortStableFunc(items, func(a, b Item) int { return at(a).Compare(at(b)) })
}

// decoded keeps numbers as they were written.
func decoded(value []byte) (Item, error) {
	d := json.NewDecoder(bytes.NewReader(value))
	d.UseNumber()
	var i Item
	err := d.Decode(&i)
	return i, err
}

func some(items []Item) []Item {
	if items == nil {
		return []Item{}
	}
	return items
}
