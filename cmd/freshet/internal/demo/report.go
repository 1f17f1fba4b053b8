package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/libs/onnx"
	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/freshet-io/freshet/libs/statistics"
)

// A summary is what --json writes.
type summary struct {
	Ripples   []ripple   `json:"ripples"`
	Versions  []*version `json:"versions"`
	Rollouts  []rollout  `json:"rollouts"`
	Drift     []drift    `json:"drift"`
	Champion  *champion  `json:"champion"`
	Rejected  int        `json:"rejected"`
	Parked    int        `json:"parked"`
	Events    int        `json:"events"`
	HopP50    float64    `json:"hop_ms_p50"`
	ClockRate float64    `json:"clock_rate"`
	Seconds   float64    `json:"seconds"`
}

type ripple struct {
	ID       string `json:"id"`
	Trigger  string `json:"trigger"`
	RootType string `json:"root_type"`
	Events   int    `json:"events"`
	Outcome  string `json:"outcome"`
}

// A champion compares what a version answered live with what it would have
// answered from the training set's own features, on the same flights, which it
// was not trained on.
type champion struct {
	Version    int64   `json:"version"`
	Rows       int     `json:"rows"`
	From       string  `json:"from"`
	To         string  `json:"to"`
	LiveAUC    float64 `json:"auc_live"`
	OfflineAUC float64 `json:"auc_offline"`
	NaiveAUC   float64 `json:"naive_auc"`
}

func (d *demo) report(ctx context.Context, running, total float64) error {
	if err := d.settle(ctx); err != nil {
		return err
	}
	var ripples struct {
		Items []ripple `json:"items"`
	}
	if err := d.api.get(ctx, "/v1/ripples?limit=5000", &ripples); err != nil {
		return err
	}
	store, err := d.suite.Objects(ctx)
	if err != nil {
		return err
	}
	best, err := d.champion(ctx, store)
	if err != nil {
		return fmt.Errorf("comparing the champion's live answers with its offline ones: %w", err)
	}
	d.observer.mu.Lock()
	defer d.observer.mu.Unlock()
	st := d.observer
	sum := summary{Ripples: ripples.Items, Versions: st.versions, Rollouts: st.rollouts, Drift: st.drift, Champion: best,
		Rejected: st.rejected, Parked: st.parked, Events: st.count, HopP50: median(st.hops),
		ClockRate: float64(d.Days) * 24 * 3600 / running, Seconds: total}
	d.print(ctx, sum)
	if d.JSON == "" {
		return nil
	}
	raw, err := json.MarshalIndent(sum, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(d.JSON, append(raw, '\n'), 0o644)
}

func (d *demo) print(ctx context.Context, sum summary) {
	print := func(format string, args ...any) { _, _ = fmt.Fprintf(d.Out, format+"\n", args...) }
	if d.TTY {
		_, _ = fmt.Fprint(d.Out, "\r\033[K")
	}
	print("\n%s in %.0f s: the suite's clock ran at %.0f times real time. %d events, %d ripples, %.1f ms from an event to the decision on it (median).",
		days(d.Days), sum.Seconds, sum.ClockRate, sum.Events, len(sum.Ripples), sum.HopP50)
	print("\nVersions, each measured on the last day of its training set, which it was not trained on:")
	for _, v := range sum.Versions {
		print("  v%-3d AUC %.3f  naive %.3f  log loss %.4f  %-8s %s", v.Version, v.AUC, v.NaiveAUC, v.LogLoss, v.Gates, v.Trigger)
	}
	if c := sum.Champion; c != nil {
		print("\nChampion v%d on %d flights of days it never saw (%s to %s): AUC %.3f as it answered live, %.3f offline, naive %.3f.",
			c.Version, c.Rows, c.From, c.To, c.LiveAUC, c.OfflineAUC, c.NaiveAUC)
	}
	if len(d.world.byDate) > 0 {
		d.curl(ctx, print)
	}
	why := []string{"why", lastingModel}
	if exe, err := os.Executable(); err == nil {
		command := exec.CommandContext(ctx, exe, append(why, "--url", d.suite.URL())...)
		command.Env = append(os.Environ(), "FRESHET_TOKEN="+d.suite.Token())
		out, err := command.CombinedOutput()
		print("\n$ freshet why %s\n%s", lastingModel, out)
		if err != nil {
			print("(%v)", err)
		}
	}
}

// curl asks about one flight, as a newcomer can from a shell.
func (d *demo) curl(ctx context.Context, print func(string, ...any)) {
	body, err := json.Marshal(inferRequest(d.world.leaving(d.at.Add(-4*time.Hour), d.at)[:1]))
	if err != nil {
		return
	}
	var answer json.RawMessage
	if err := d.api.do(ctx, "POST", "/v2/models/flight-delays/infer", "application/json", body, &answer); err != nil {
		answer = json.RawMessage(err.Error())
	}
	print("\n$ curl -s -H \"Authorization: Bearer $(cat %s)\" %s/v2/models/flight-delays/infer -d '%s'\n%s",
		filepath.Join(d.DataDir, suite.TokenFile), d.api.url, body, answer)
}

// champion scores, on the newest test split that a served version never saw and
// answered live, that version offline.
func (d *demo) champion(ctx context.Context, store *objects.Store) (*champion, error) {
	d.observer.mu.Lock()
	sets, versions := slices.Clone(d.observer.sets), slices.Clone(d.observer.versions)
	d.observer.mu.Unlock()
	slices.Reverse(sets)
	for _, set := range sets {
		i := slices.IndexFunc(set.Splits, func(p events.Split) bool { return p.Name == "test" })
		if i < 0 {
			continue
		}
		table, err := d.table(ctx, store, set.Splits[i].File.Digest)
		if err != nil {
			return nil, err
		}
		if c, err := d.compare(ctx, store, table, set.Splits[i], versions); c != nil || err != nil {
			return c, err
		}
	}
	return nil, nil
}

func (d *demo) table(ctx context.Context, store *objects.Store, digest string) (*parquet.Table, error) {
	path, err := store.File(ctx, digest)
	if err != nil {
		return nil, err
	}
	return parquet.Read(path)
}

// compare finds the version that answered most of the split's flights and had
// not been trained on any of them; nil if there is none.
func (d *demo) compare(ctx context.Context, store *objects.Store, t *parquet.Table, split events.Split, versions []*version) (*champion, error) {
	key, label := t.Column("flight_id"), t.Column("label")
	if key == nil || label == nil {
		return nil, fmt.Errorf("a test split lacks flight_id or label")
	}
	answered := map[int]int{}
	d.application.mu.Lock()
	for _, id := range key.Strings {
		if a, ok := d.application.answers[id]; ok {
			answered[a.version]++
		}
	}
	d.application.mu.Unlock()
	var v *version
	for _, candidate := range versions {
		n := answered[int(candidate.Version)]
		if n < 1000 || candidate.registered.Lineage.TrainedThrough.After(split.From) {
			continue
		}
		if v == nil || n > answered[int(v.Version)] {
			v = candidate
		}
	}
	if v == nil {
		return nil, nil
	}
	model, err := store.Get(ctx, v.registered.Artifact.Digest, 64<<20)
	if err != nil {
		return nil, err
	}
	graph, err := onnx.Load(model)
	if err != nil {
		return nil, err
	}
	var (
		features []float32
		live     []float64
		labels   []bool
	)
	d.application.mu.Lock()
	for i, id := range key.Strings {
		a, ok := d.application.answers[id]
		if !ok || a.version != int(v.Version) {
			continue
		}
		for _, c := range v.registered.Columns {
			column := t.Column(c.Name)
			if column == nil { // the split is of a revision without this feature
				d.application.mu.Unlock()
				return nil, nil
			}
			features = append(features, float32(column.Floats[i]))
		}
		live = append(live, a.late)
		labels = append(labels, label.Floats[i] > 0.5)
	}
	d.application.mu.Unlock()
	offline, err := graph.Score(features, len(labels), len(v.registered.Columns))
	if err != nil {
		return nil, err
	}
	naive := make([]float64, len(labels))
	return &champion{Version: v.Version, Rows: len(labels), From: split.From.Format("2 January 15:04"), To: split.To.Format("2 January 15:04"),
		LiveAUC: statistics.AUC(labels, live), OfflineAUC: statistics.AUC(labels, offline), NaiveAUC: statistics.AUC(labels, naive)}, nil
}

func median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	x = slices.Clone(x)
	slices.Sort(x)
	return x[len(x)/2]
}
