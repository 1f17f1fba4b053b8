// Package state has tables that act by themselves, and reads those of others.
package state

import "github.com/freshet-io/freshet/libs/eventlog"

const tables = `
CREATE TABLE a (id bigserial PRIMARY KEY);
CREATE TABLE b (id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz DEFAULT now());
CREATE TABLE c (name text PRIMARY KEY, id uuid DEFAULT gen_random_uuid());
CREATE FUNCTION f() RETURNS trigger AS 'x';
`

func New() *eventlog.Fold {
	f := eventlog.NewFold("tables", 1, tables) // want: bigserial; identity; now(); has no primary key; COLLATE "C"; gen_random_uuid(); CREATE FUNCTION
	f.Apply("a", applied)
	return f
}

func applied(tx *eventlog.Tx) error {
	tx.Exec(`INSERT INTO a (id) SELECT id FROM other.things`) // want: its own schema
	tx.Exec(`DELETE FROM things`)                             // want: none of the fold's tables
	tx.Exec(`UPDATE a SET id = nextval('s')`)                 // want: nextval()
	tx.Exec(`SELECT a.id FROM a, things WHERE a.id = $1`)     // want: none of the fold's tables; takes rows of things
	return nil
}
