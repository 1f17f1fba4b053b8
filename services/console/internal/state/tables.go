// Package state is the console's fold: ripples, their events, what waits for a person,
// and which models, versions and champions there are. Nothing else writes these tables.
package state

// FoldVersion is raised whenever the tables, an apply or the consumed events change.
const FoldVersion = 2

// Tables are the fold's tables.
const Tables = `
CREATE TABLE ripples (
	namespace text COLLATE "C" NOT NULL,
	id        text COLLATE "C" NOT NULL,  -- of its root
	trigger   text NOT NULL,
	root_type text NOT NULL,
	subject   text NOT NULL,
	events    bigint NOT NULL,
	outcome   text NOT NULL,
	detail    text NOT NULL,
	started   timestamptz NOT NULL,
	last      timestamptz NOT NULL,       -- time of its last event
	begun     bigint NOT NULL,            -- place of its root in the log
	changed   bigint NOT NULL,            -- place in the log of what last changed it
	PRIMARY KEY (namespace, id)
);
CREATE INDEX ripples_begun ON ripples (namespace, begun);
CREATE INDEX ripples_changed ON ripples (namespace, changed);
CREATE TABLE ripple_events (
	namespace text COLLATE "C" NOT NULL,
	id        text COLLATE "C" NOT NULL,
	ripple    text COLLATE "C" NOT NULL,
	sequence  bigint NOT NULL,            -- in the log
	type      text NOT NULL,
	subject   text NOT NULL,
	cause     text NOT NULL,
	hops      integer NOT NULL,
	actor     text NOT NULL,
	time      timestamptz NOT NULL,
	note      text NOT NULL,
	PRIMARY KEY (namespace, id)
);
CREATE INDEX ripple_events_ripple ON ripple_events (namespace, ripple, sequence);
CREATE TABLE pending (                    -- what a ripple began and nothing ended
	namespace text COLLATE "C" NOT NULL,
	key       text COLLATE "C" NOT NULL,
	ripple    text COLLATE "C" NOT NULL,
	PRIMARY KEY (namespace, key)
);
CREATE INDEX pending_ripple ON pending (namespace, ripple);
CREATE TABLE models (
	namespace text COLLATE "C" NOT NULL,
	model     text COLLATE "C" NOT NULL,
	withdrawn boolean NOT NULL,
	environments text[] NOT NULL,         -- of the newest declaration
	PRIMARY KEY (namespace, model)
);
CREATE TABLE versions (
	namespace  text COLLATE "C" NOT NULL,
	model      text COLLATE "C" NOT NULL,
	version    bigint NOT NULL,
	ripple     text COLLATE "C" NOT NULL,
	passed     boolean NOT NULL,
	candidate  jsonb NOT NULL,
	champion   jsonb,
	naive      jsonb NOT NULL,
	rows       bigint NOT NULL,
	gates      jsonb NOT NULL,
	PRIMARY KEY (namespace, model, version)
);
CREATE TABLE approvals (                  -- asked for, and what became of it
	namespace   text COLLATE "C" NOT NULL,
	model       text COLLATE "C" NOT NULL,
	version     bigint NOT NULL,
	environment text COLLATE "C" NOT NULL,
	event       text NOT NULL,            -- that asked
	ripple      text NOT NULL,
	hops        integer NOT NULL,
	since       timestamptz NOT NULL,
	state       text NOT NULL,            -- waiting, approved, denied
	PRIMARY KEY (namespace, model, version, environment)
);
CREATE TABLE champions (
	namespace   text COLLATE "C" NOT NULL,
	model       text COLLATE "C" NOT NULL,
	environment text COLLATE "C" NOT NULL,
	version     bigint NOT NULL,
	previous    bigint,
	since       timestamptz NOT NULL,
	PRIMARY KEY (namespace, model, environment)
);
`
