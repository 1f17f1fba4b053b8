package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	datasetName = "trips"
	modelName   = "late-trips"
	environment = "production"
)

// definitions are what the model's repository declares: a dataset, a view over
// it, and a model whose every third data commit trains it anew and which a person
// has to approve for production.
var definitions = map[string]string{
	"datasets/trips.yaml": `dataset: trips
keys: [trip]
time: {column: date, zone: local}
known_at: {delay: "date + to_minutes(greatest(delay, 0))"}
expect:
  columns:
    trip: {type: string, nulls: 0}
    date: {type: timestamp, nulls: 0}
    delay: {type: int64, nulls: 0}
    distance: {type: int64, nulls: 0}
    station: {type: string, nulls: 0}
on_failure: {rows: quarantine, reject_commit_above: 5%}
`,
	"features/delays.yaml": `view: station_delays
dataset: trips
entity: {station: station}
window: 3h
features: {late_share: "avg((delay > 15)::int)"}
missing: {late_share: 0.2}
`,
	"freshet.yaml": `model: late-trips
examples:
  dataset: trips
  label: "delay > 15"
  label_wait: 48h
  split: {validation: 1d, test: 1d}
features: [station_delays]
request: {trip: string, date: timestamp, station: string, distance: int64}
prediction: {late: float}
training:
  builtin: logistic-regression
  resources: {cpu: 1, memory: 1GiB, timeout: 5m}
  params: {l2: 0.01}
gates:
  sane: candidate.log_loss < 100.0
environments:
  staging: {approve: auto}
  production: {approve: approver}
monitor: {window: 1h, drift: {psi: 10}}
retrain: {when: [code, data], data_commits: 12, cooldown: 1s, per_day: 10000, give_up_after: 10000}
mode: act
`,
}

// createRepository makes the model's repository.
func createRepository(ctx context.Context, dir string) error {
	for name, text := range definitions {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"}, {"add", "--all"},
		{"-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false", "commit", "--quiet", "--message", "Say which trips will be late"},
	} {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// A trip is one row of the dataset.
type trip struct {
	id              string
	at              time.Time
	delay, distance int64
	station         string
}

var firstDay = time.Date(2001, 1, 1, 6, 0, 0, 0, time.UTC)

// trips are rows over four days, of both classes on each of them.
func trips(r *rand.Rand, name string) []trip {
	const days, perDay = 4, 6
	var rows []trip
	for day := range days {
		for i := range perDay {
			station := string(rune('A' + r.IntN(4)))
			late := i%3 == 0 || station == "A" && r.IntN(2) == 0
			row := trip{id: fmt.Sprintf("%s-%d-%d", name, day, i), station: station, distance: 100 + int64(r.IntN(900)),
				at: firstDay.AddDate(0, 0, day).Add(time.Duration(i)*90*time.Minute + time.Duration(r.IntN(3600))*time.Second)}
			if late {
				row.delay = 20 + int64(r.IntN(60))
			}
			rows = append(rows, row)
		}
	}
	return rows
}

const wallTime = "2006-01-02T15:04:05"

func tripsCSV(rows []trip) []byte {
	var b strings.Builder
	b.WriteString("trip,date,delay,distance,station\n")
	for _, t := range rows {
		fmt.Fprintf(&b, "%s,%s,%d,%d,%s\n", t.id, t.at.Format(wallTime), t.delay, t.distance, t.station)
	}
	return []byte(b.String())
}
