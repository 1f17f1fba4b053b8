// Package state depends on the order of what has none.
package state

import (
	"maps"

	"github.com/freshet-io/freshet/libs/eventlog"
)

const tables = `
CREATE TABLE runs (
	namespace text COLLATE "C" NOT NULL,
	run       text COLLATE "C" NOT NULL,
	owner     text NOT NULL,
	score     double precision NOT NULL,
	at        timestamptz NOT NULL,
	PRIMARY KEY (namespace, run)
)`

func New() *eventlog.Fold {
	f := eventlog.NewFold("order", 1, tables)
	f.Apply("a", applied)
	f.Decide("a", decided)
	return f
}

func applied(tx *eventlog.Tx) error {
	for k := range map[string]int{"a": 1} { // want: range over a map
		tx.Exec(`DELETE FROM runs WHERE run = $1`, k)
	}
	for k := range maps.Keys(map[string]int{"a": 1}) { // want: maps.Keys
		tx.Exec(`DELETE FROM runs WHERE run = $1`, k)
	}
	column := "owner"
	tx.Exec(`UPDATE runs SET ` + column + ` = ''`) // want: put together when it runs
	tx.Exec(`UPDATE runs SET score = score + 1`)   // want: arithmetic on a float
	return nil
}

func decided(r eventlog.Reader) ([]string, error) {
	for _, sql := range []string{
		`SELECT run FROM runs WHERE namespace = $1`,                                         // want: no ORDER BY
		`SELECT run FROM runs WHERE namespace = $1 OR run = $2 LIMIT 1`,                     // want: no ORDER BY
		`SELECT run FROM runs WHERE namespace = $1 ORDER BY at`,                             // want: does not end in a key
		`SELECT run FROM runs WHERE namespace = $1 ORDER BY owner, run`,                     // want: COLLATE
		`SELECT sum(score) FROM runs`,                                                       // want: float column score
		`SELECT array_agg(run) FROM runs`,                                                   // want: without ORDER BY inside
		`SELECT array(SELECT run FROM runs)`,                                                // want: within parentheses
		`SELECT EXISTS (SELECT FROM runs WHERE at < now())`,                                 // want: now()
		`SELECT run FROM runs WHERE namespace = $1 AND at < CURRENT_TIMESTAMP ORDER BY run`, // want: current_timestamp
		`UPDATE runs SET owner = '' WHERE run = $1`,                                         // want: decide only reads
		`TRUNCATE runs`, // want: TRUNCATE
		`SELECT run FROM runs WHERE namespace = $1 UNION SELECT 'a' ORDER BY run`, // want: UNION
	} {
		if err := r.Query(sql); err != nil {
			return nil, err
		}
	}
	return nil, nil
}
