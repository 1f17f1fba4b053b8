// Package state is the registry's fold: its tables, what each event changes in
// them, and the queries over them. Nothing else writes these tables.
package state

// FoldVersion is raised whenever the tables, an apply or the consumed events change.
const FoldVersion = 1

// Tables are the fold's tables. Payloads are kept as they were decided, so that a
// later decision carries them on unchanged.
const Tables = `
CREATE TABLE models (
	namespace   text COLLATE "C" NOT NULL,
	model       text COLLATE "C" NOT NULL,
	latest      bigint NOT NULL,      -- number of the newest version, 0 before the first
	withdrawn   boolean NOT NULL,
	owner       text NOT NULL,
	repository  text NOT NULL,
	revision    text NOT NULL,
	spec_digest text NOT NULL,
	mode        text NOT NULL,
	changed_at  timestamptz NOT NULL,
	PRIMARY KEY (namespace, model)
);
CREATE TABLE candidates (             -- what a measurement says beside the version it becomes
	namespace    text COLLATE "C" NOT NULL,
	model        text COLLATE "C" NOT NULL,
	run          text COLLATE "C" NOT NULL,
	event        text NOT NULL,
	trigger      text NOT NULL,
	spec_digest  text NOT NULL,
	mode         text NOT NULL,
	environments jsonb NOT NULL,
	slices       jsonb NOT NULL,
	PRIMARY KEY (namespace, model, run)
);
CREATE TABLE versions (
	namespace  text COLLATE "C" NOT NULL,
	model      text COLLATE "C" NOT NULL,
	version    bigint NOT NULL,
	run        text COLLATE "C" NOT NULL,
	event      text NOT NULL,         -- that registered it
	at         timestamptz NOT NULL,
	status     text NOT NULL,         -- registered, passed, refused
	registered jsonb NOT NULL,        -- the payload of its registration
	gates      jsonb NOT NULL,
	PRIMARY KEY (namespace, model, version),
	UNIQUE (namespace, model, run)
);
CREATE TABLE stages (
	namespace   text COLLATE "C" NOT NULL,
	model       text COLLATE "C" NOT NULL,
	environment text COLLATE "C" NOT NULL,
	version     bigint NOT NULL,
	stage       text NOT NULL,        -- asked, approved, denied, champion, former
	reason      text NOT NULL,        -- of a denial; by whom of an approval
	event       text NOT NULL,        -- that put it there
	at          timestamptz NOT NULL,
	PRIMARY KEY (namespace, model, environment, version)
);
CREATE TABLE champions (
	namespace   text COLLATE "C" NOT NULL,
	model       text COLLATE "C" NOT NULL,
	environment text COLLATE "C" NOT NULL,
	version     bigint NOT NULL,
	previous    bigint,
	event       text NOT NULL,
	since       timestamptz NOT NULL,
	PRIMARY KEY (namespace, model, environment)
);
CREATE TABLE rollouts (               -- why each was started
	namespace   text COLLATE "C" NOT NULL,
	rollout     text COLLATE "C" NOT NULL,
	kind        text NOT NULL,        -- promotion, rollback
	PRIMARY KEY (namespace, rollout)
);
`
