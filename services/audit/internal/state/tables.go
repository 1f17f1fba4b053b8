// Package state is audit's fold: an index of every event, what depends on what, which
// event stands behind a name, and how everything stood at every position of the log.
// Nothing else writes these tables.
package state

// FoldVersion is raised whenever the tables, an apply or the consumed events change.
const FoldVersion = 4

// Tables are the fold's tables.
const Tables = indexTables + graphTables + pastTables + checkpointTables

// Indexes that are looked up by an id begin with it: no plan can then be tempted, while a
// table has no statistics, to read all of a namespace instead.
const indexTables = `
CREATE TABLE events (
	namespace       text COLLATE "C" NOT NULL,
	id              text COLLATE "C" NOT NULL,
	sequence        bigint NOT NULL,  -- in the log
	type            text COLLATE "C" NOT NULL,
	source          text COLLATE "C" NOT NULL,
	subject         text COLLATE "C" NOT NULL,
	correlation     text COLLATE "C" NOT NULL,
	causation       text COLLATE "C" NOT NULL,
	source_sequence bigint NOT NULL,
	hops            integer NOT NULL,
	actor           text NOT NULL,
	time            timestamptz NOT NULL,
	contributors    text[] NOT NULL,
	PRIMARY KEY (id, namespace)
);
CREATE INDEX events_sequence ON events (sequence);
CREATE INDEX events_correlation ON events (correlation, namespace, sequence);
CREATE INDEX events_type ON events (type, namespace, sequence);
CREATE INDEX events_subject ON events (subject, namespace, sequence);
CREATE TABLE moments (                -- where in the log the suite's time moved on
	at       timestamptz PRIMARY KEY,
	sequence bigint NOT NULL
);
CREATE INDEX moments_sequence ON moments (sequence);
`

// graphTables hold what depends on what. Every edge goes from an event to an earlier one,
// as its envelope, its contributors or its payload say, so that both directions are
// one lookup in an index.
const graphTables = `
CREATE TABLE edges (
	namespace text COLLATE "C" NOT NULL,
	effect    text COLLATE "C" NOT NULL,
	cause     text COLLATE "C" NOT NULL,
	kind      text COLLATE "C" NOT NULL,
	PRIMARY KEY (effect, namespace, cause, kind)
);
CREATE INDEX edges_cause ON edges (cause, namespace, effect, kind);
CREATE TABLE uses (                   -- a training has every commit of a dataset up to this one
	namespace text COLLATE "C" NOT NULL,
	dataset   text COLLATE "C" NOT NULL,
	number    bigint NOT NULL,
	event     text COLLATE "C" NOT NULL, -- training_requested
	PRIMARY KEY (dataset, namespace, number, event)
);
CREATE INDEX uses_event ON uses (event, namespace);
CREATE TABLE links (                  -- the event behind a name that people and other events use
	namespace text COLLATE "C" NOT NULL,
	kind      text COLLATE "C" NOT NULL,
	key       text COLLATE "C" NOT NULL,
	event     text COLLATE "C" NOT NULL,
	PRIMARY KEY (namespace, kind, key)
);
`

// pastTables hold how things stood. A row of past says what was true of one thing from
// one position of the log until, not including, another; the rows of one thing never
// overlap. Data commits and materialisations only come and never go: of them there are
// many, so they have tables of their own.
const pastTables = `
CREATE TABLE past (
	namespace      text COLLATE "C" NOT NULL,
	kind           text COLLATE "C" NOT NULL,
	key            text COLLATE "C" NOT NULL,
	from_sequence  bigint NOT NULL,
	until_sequence bigint NOT NULL,   -- 9223372036854775807 while it is so
	model          text COLLATE "C" NOT NULL, -- that it is about; empty for data and features
	event          text COLLATE "C" NOT NULL, -- that made it so
	at             timestamptz NOT NULL,
	value          jsonb NOT NULL,
	PRIMARY KEY (namespace, kind, key, from_sequence)
);
CREATE INDEX past_at ON past USING gist (int8range(from_sequence, until_sequence));
CREATE TABLE commits (
	namespace   text COLLATE "C" NOT NULL,
	dataset     text COLLATE "C" NOT NULL,
	number      bigint NOT NULL,
	commit      text COLLATE "C" NOT NULL,
	event       text COLLATE "C" NOT NULL,
	sequence    bigint NOT NULL,      -- in the log
	committed   timestamptz NOT NULL,
	rows        bigint NOT NULL,
	added_rows  bigint NOT NULL,
	quarantined bigint NOT NULL,
	min_time    timestamptz,
	max_time    timestamptz,
	PRIMARY KEY (dataset, namespace, number)
);
CREATE INDEX commits_sequence ON commits (dataset, namespace, sequence);
CREATE INDEX commits_event ON commits (event, namespace);
CREATE TABLE materialisations (
	namespace text COLLATE "C" NOT NULL,
	view      text COLLATE "C" NOT NULL,
	version   bigint NOT NULL,
	commit    text COLLATE "C" NOT NULL,
	sequence  bigint NOT NULL,        -- in the log
	number    bigint NOT NULL,        -- of the commit; 0 where the log has none
	rows      bigint NOT NULL,
	through   timestamptz,            -- newest time among the rows
	error     text NOT NULL,
	at        timestamptz NOT NULL,
	PRIMARY KEY (view, version, namespace, commit, sequence)
);
CREATE INDEX materialisations_sequence ON materialisations (view, version, namespace, sequence);
`

// checkpointTables hold what was signed.
const checkpointTables = `
CREATE TABLE checkpoints (            -- what was signed over the log
	size bigint NOT NULL,             -- messages
	key  text COLLATE "C" NOT NULL,   -- public key of who signed
	root text COLLATE "C" NOT NULL,
	note text NOT NULL,
	event text COLLATE "C" NOT NULL,
	time timestamptz NOT NULL,
	PRIMARY KEY (size, key)
);
`
