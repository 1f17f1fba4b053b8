// Package state is the fold: the tables, what each event changes in them, and
// the queries. It is the only place that writes them.
package state

// FoldVersion is raised whenever Tables, an apply or the events consumed change.
const FoldVersion = 1

// Tables are the fold's. Durations are nanoseconds; the approved payload is kept
// as it came, because a version's serving needs most of it.
const Tables = `
CREATE TABLE models (
	namespace    text COLLATE "C" NOT NULL,
	model        text COLLATE "C" NOT NULL,
	dataset      text COLLATE "C" NOT NULL,
	environments text[] COLLATE "C" NOT NULL,
	withdrawn    boolean NOT NULL,
	PRIMARY KEY (namespace, model)
);
CREATE TABLE datasets (
	namespace text COLLATE "C" NOT NULL,
	dataset   text COLLATE "C" NOT NULL,
	keys      text[] COLLATE "C" NOT NULL,
	PRIMARY KEY (namespace, dataset)
);
CREATE TABLE approvals (
	namespace   text COLLATE "C" NOT NULL,
	model       text COLLATE "C" NOT NULL,
	environment text COLLATE "C" NOT NULL,
	version     bigint NOT NULL,
	payload     text COLLATE "C" NOT NULL,
	PRIMARY KEY (namespace, model, environment, version)
);
CREATE TABLE rollouts (
	namespace   text COLLATE "C" NOT NULL,
	rollout     text COLLATE "C" NOT NULL,
	model       text COLLATE "C" NOT NULL,
	environment text COLLATE "C" NOT NULL,
	ordinal     bigint NOT NULL,
	version     bigint NOT NULL,
	previous    bigint,
	kind        text COLLATE "C" NOT NULL,
	state       text COLLATE "C" NOT NULL,
	step        bigint NOT NULL,
	weight      bigint NOT NULL,
	steps       bigint[] NOT NULL,
	requests    bigint NOT NULL,
	at_least    bigint NOT NULL,
	at_most     bigint NOT NULL,
	reason      text COLLATE "C" NOT NULL,
	started     timestamptz NOT NULL,
	moved       timestamptz NOT NULL,
	PRIMARY KEY (namespace, rollout)
);
CREATE INDEX rollouts_of ON rollouts (namespace, model, environment, ordinal);
CREATE TABLE environments (
	namespace   text COLLATE "C" NOT NULL,
	model       text COLLATE "C" NOT NULL,
	environment text COLLATE "C" NOT NULL,
	serving     bigint,
	rollout     text COLLATE "C" NOT NULL,
	changed     timestamptz NOT NULL,
	PRIMARY KEY (namespace, model, environment)
);
`
