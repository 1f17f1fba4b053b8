// Package state is a fold as it should be: nothing is found in it.
package state

import (
	"maps"
	"os"
	"slices"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog"
)

const tables = `
CREATE TABLE models (
	namespace text COLLATE "C" NOT NULL,
	model     text COLLATE "C" NOT NULL,
	psi       double precision NOT NULL,
	since     timestamptz NOT NULL, -- now() in a comment is no call
	PRIMARY KEY (namespace, model)
);
CREATE TABLE versions (
	namespace text COLLATE "C" NOT NULL,
	model     text COLLATE "C" NOT NULL,
	version   bigint NOT NULL,
	PRIMARY KEY (namespace, model, version)
);
CREATE INDEX newest ON versions (namespace, version);
`

func New() *eventlog.Fold {
	f := eventlog.NewFold("good", 1, tables)
	f.Apply("a", applied)
	f.Decide("a", decided)
	return f
}

func applied(tx *eventlog.Tx) error {
	tx.Exec(`INSERT INTO models (namespace, model, psi, since) VALUES ($1, $2, $3, $4) ON CONFLICT (namespace, model) DO UPDATE SET psi = excluded.psi`)
	for _, name := range slices.Sorted(maps.Keys(map[string]int{"a": 1})) {
		tx.Exec(`DELETE FROM versions WHERE model = $1`, name)
	}
	return nil
}

const joined = `SELECT v.version, m.psi FROM versions v JOIN models m USING (namespace, model) `

func decided(r eventlog.Reader) ([]string, error) {
	for _, sql := range []string{
		`SELECT psi FROM models WHERE namespace = $1 AND model = $2`,
		`SELECT count(*), max(version) FROM versions WHERE namespace = $1`,
		`SELECT EXISTS (SELECT FROM versions WHERE namespace = $1)`,
		`SELECT version FROM versions WHERE namespace = $1 AND model = $2 ORDER BY version DESC LIMIT 1`,
		joined + `WHERE v.namespace = $1 ORDER BY v.model, v.version`,
		`SELECT coalesce((SELECT psi FROM models WHERE namespace = $1 AND model = $2), 0)`,
		`SELECT model, count(*) FROM versions WHERE namespace = $1 GROUP BY namespace, model ORDER BY model`,
		`SELECT m.model, v.version FROM models m LEFT JOIN LATERAL (SELECT version FROM versions WHERE namespace = m.namespace
			AND model = m.model ORDER BY version DESC LIMIT 1) v ON true WHERE m.namespace = $1 ORDER BY m.model`,
	} {
		if err := r.Query(sql); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// Started is not part of the fold: what it uses is its own business.
func Started() (time.Time, string) { return time.Now(), os.Getenv("HOME") }

// List is asked by a route only.
func List(r eventlog.Reader) error { return r.Query(`SELECT model FROM models`) }
