package golden_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/cmd/freshet/internal/golden"
	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/digests.json; refused where a fold changed and its FoldVersion did not")

var (
	logFile     = filepath.Join("testdata", "log.jsonl.gz")
	digestsFile = filepath.Join("testdata", "digests.json")
)

// The log that this repository keeps is what a version of the suite left behind.
// Every later one must read it and come to the same state: that is what lets an
// installation be upgraded. A fold that means something else now has another
// FoldVersion, and its new digests are for a person to look at.
func TestUpgradeRebuildsTheSameStateFromTheGoldenLog(t *testing.T) {
	t.Parallel()
	want, err := recorded()
	require.NoError(t, err)
	log := open(t)
	got := map[string]state{}
	for name, fold := range folds(t) {
		r := log.fold(t, fold, eventlog.Options{}, nil)
		got[name] = state{FoldVersion: fold.Version, Tables: digests(r.tables)}
		require.Empty(t, r.added, "%s decides what was not decided when the log was recorded", name)
	}
	problems := compare(want, got)
	if !*update {
		require.Empty(t, problems, "make golden-digests writes the new ones")
		return
	}
	for _, p := range problems {
		require.NotContains(t, p, unraised, "raise its FoldVersion first: what is installed must be rebuilt")
	}
	b, err := json.MarshalIndent(got, "", "  ")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(digestsFile, append(b, '\n'), 0o644))
	for _, p := range problems {
		t.Log("now recorded: ", p)
	}
}

// What a plan of PostgreSQL's, or the size of a batch, could change in a fold.
var variants = map[string]variant{
	"one by one":         {batch: 1},
	"in batches of 7":    {batch: 7},
	"no sequential scan": {settings: map[string]string{"enable_seqscan": "off"}},
	"no index scan":      {settings: map[string]string{"enable_indexscan": "off", "enable_indexonlyscan": "off", "enable_bitmapscan": "off"}},
	"no hash join":       {settings: map[string]string{"enable_hashjoin": "off", "enable_hashagg": "off"}},
	"no nested loop":     {settings: map[string]string{"enable_nestloop": "off", "enable_material": "off", "enable_memoize": "off"}},
	"little memory":      {settings: map[string]string{"work_mem": "64kB", "random_page_cost": "1000", "plan_cache_mode": "force_generic_plan"}},
	"much memory": {settings: map[string]string{"work_mem": "256MB", "random_page_cost": "0.01", "plan_cache_mode": "force_custom_plan",
		"enable_sort": "off", "enable_mergejoin": "off"}},
	"elsewhere": {settings: map[string]string{"TimeZone": "Asia/Kathmandu", "DateStyle": "German, DMY", "IntervalStyle": "sql_standard",
		"extra_float_digits": "0", "bytea_output": "escape", "default_transaction_isolation": "repeatable read"}},
}

type variant struct {
	batch    int
	settings map[string]string
}

// The same log gives the same tables, row for row, however PostgreSQL gets at its
// rows and however many events share a transaction.
func TestPromise07FoldsAreTheSameInEveryBatchAndPlan(t *testing.T) {
	t.Parallel()
	log := open(t)
	for name, fold := range folds(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := log.fold(t, fold, eventlog.Options{}, nil)
			require.NotEmpty(t, want.tables)
			for _, how := range slices.Sorted(maps.Keys(variants)) {
				v := variants[how]
				got := log.fold(t, fold, eventlog.Options{Batch: v.batch}, v.settings)
				require.Empty(t, got.added, how)
				for table, rows := range want.tables {
					require.Equal(t, rows, got.tables[table], "%s: %s", how, table)
				}
			}
		})
	}
}

// The database itself refuses what a fold must not see: the connection that folds
// may use its own schemas and no function that tells the time or rolls dice.
func TestAFoldSeesNothingButItsOwnTables(t *testing.T) {
	t.Parallel()
	log := open(t)
	for name, sql := range map[string]string{
		"the time":             `INSERT INTO seen (id, at) VALUES ($1, now())`,
		"the time of the wall": `INSERT INTO seen (id, at) VALUES ($1, clock_timestamp())`,
		"chance":               `INSERT INTO seen (id, at) SELECT $1, 'epoch' WHERE random() < 2`,
		"an id by chance":      `INSERT INTO seen (id, at) VALUES ($1 || gen_random_uuid(), 'epoch')`,
		"another's tables":     `INSERT INTO seen (id, at) SELECT $1, at FROM others.facts`,
		"a file":               `INSERT INTO seen (id, at) SELECT $1 || pg_read_file('PG_VERSION'), 'epoch'`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad := eventlog.NewFold("registry", 1, `CREATE TABLE seen (id text COLLATE "C" PRIMARY KEY, at timestamptz NOT NULL)`)
			bad.Apply(events.TypeModelDeclared, func(_ context.Context, tx *eventlog.Tx, e event.Event) error {
				tx.Exec(sql, e.ID())
				return nil
			})
			err := log.refuses(t, bad)
			require.ErrorContains(t, err, "permission denied")
		})
	}
}

func TestAGoldenFileIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log.jsonl.gz")
	want := [][]byte{[]byte(`{"a":1}`), []byte(`{}`)}
	require.NoError(t, golden.Write(path, want))
	got, err := golden.Read(path)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.ErrorContains(t, golden.Write(path, [][]byte{[]byte("{\n}")}), "event 1 has a line break")

	b, err := os.ReadFile(logFile)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, b[:len(b)/2], 0o600))
	_, err = golden.Read(path)
	require.ErrorContains(t, err, "after event")
}

// state is what a fold's tables hold after the golden log.
type state struct {
	FoldVersion int               `json:"fold_version"`
	Tables      map[string]string `json:"tables"` // rows and digest
}

func recorded() (map[string]state, error) {
	b, err := os.ReadFile(digestsFile)
	if os.IsNotExist(err) && *update {
		return map[string]state{}, nil
	}
	var s map[string]state
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	return s, err
}

const unraised = "and its FoldVersion did not"

// compare says what differs, one line for each table.
func compare(want, got map[string]state) (problems []string) {
	for _, name := range slices.Sorted(maps.Keys(got)) {
		w, ok := want[name]
		g := got[name]
		raised := ""
		if ok && g.FoldVersion <= w.FoldVersion {
			raised = ", " + unraised
		}
		if !ok && empty(g.Tables) {
			continue // a service that has nothing to do with what the log recorded
		}
		for _, table := range slices.Sorted(maps.Keys(merged(w.Tables, g.Tables))) {
			if w.Tables[table] == g.Tables[table] {
				continue
			}
			// The log's own tables are versioned by what they are made of.
			why := raised
			if strings.HasPrefix(table, "fold_") {
				why = ""
			}
			problems = append(problems, fmt.Sprintf("%s.%s changed%s: %q was %q", name, table, why, g.Tables[table], w.Tables[table]))
		}
		if ok && g.FoldVersion != w.FoldVersion {
			problems = append(problems, fmt.Sprintf("%s: FoldVersion %d, was %d", name, g.FoldVersion, w.FoldVersion))
		}
	}
	for name := range want {
		if _, ok := got[name]; !ok {
			problems = append(problems, name+" is gone")
		}
	}
	return problems
}

// empty says whether a fold's own tables have no rows.
func empty(tables map[string]string) bool {
	for table, digest := range tables {
		if !strings.HasPrefix(table, "fold_") && !strings.HasPrefix(digest, "0 rows,") {
			return false
		}
	}
	return true
}

func merged(a, b map[string]string) map[string]bool {
	all := map[string]bool{}
	for k := range a {
		all[k] = true
	}
	for k := range b {
		all[k] = true
	}
	return all
}

func folds(t *testing.T) map[string]*eventlog.Fold {
	t.Helper()
	all, err := suite.Folds()
	require.NoError(t, err)
	require.Len(t, all, len(suite.Names()))
	return all
}

const (
	waitLimit = 2 * time.Minute
	tick      = 5 * time.Millisecond
)
