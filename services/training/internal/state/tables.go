// Package state is training's fold: its tables, what each event changes in them,
// and the queries over them. Nothing else writes these tables.
package state

// FoldVersion is raised whenever the tables, an apply or the consumed events change.
const FoldVersion = 2

// Tables are the fold's tables. Payloads are kept as text, as they came, so that
// later decisions and effects carry them on unchanged.
const Tables = `
CREATE TABLE models (
	namespace     text COLLATE "C" NOT NULL,
	model         text COLLATE "C" NOT NULL,
	declared      text NOT NULL,        -- the newest model_declared event
	dataset       text COLLATE "C" NOT NULL,
	spec          text NOT NULL,
	spec_digest   text NOT NULL,
	code          text NOT NULL,
	schedule      text NOT NULL,
	withdrawn     boolean NOT NULL,
	active        text NOT NULL,        -- the request being worked on, or empty
	waiting       text NOT NULL,        -- what an untrained code change waits for
	waiting_event text NOT NULL,        -- that change's model_declared event
	commits_since bigint NOT NULL,
	without_pass  bigint NOT NULL,
	since_news    bigint NOT NULL,
	last          timestamptz,          -- request
	PRIMARY KEY (namespace, model)
);
CREATE INDEX models_by_dataset ON models (namespace, dataset);
CREATE TABLE datasets (                 -- the newest commit of each
	namespace text COLLATE "C" NOT NULL,
	dataset   text COLLATE "C" NOT NULL,
	commit    text NOT NULL,
	number    bigint NOT NULL,
	event     text NOT NULL,
	time      text NOT NULL,            -- the column of a row's time, and its zone
	zone      text NOT NULL,
	PRIMARY KEY (namespace, dataset)
);
CREATE TABLE views (                    -- which dataset a view reads
	namespace text COLLATE "C" NOT NULL,
	view      text COLLATE "C" NOT NULL,
	dataset   text NOT NULL,
	PRIMARY KEY (namespace, view)
);
CREATE TABLE runs (                     -- one per training_requested
	namespace    text COLLATE "C" NOT NULL,
	request      text COLLATE "C" NOT NULL,
	run          text COLLATE "C" NOT NULL,   -- empty until the training set is built
	model        text COLLATE "C" NOT NULL,
	trigger      text NOT NULL,
	status       text NOT NULL,         -- requested, built, running, completed, measured, failed, cancelled
	reason       text NOT NULL,         -- of a failure
	effect       text NOT NULL,         -- open for it, or empty
	requested    text NOT NULL,         -- payloads, as they were recorded
	built        text NOT NULL,
	completed    text NOT NULL,
	log          text NOT NULL,         -- digest, of the job's or of what failed its training set
	attempts     bigint NOT NULL,
	requested_at timestamptz NOT NULL,
	started_at   timestamptz,
	ended_at     timestamptz,
	measured     text NOT NULL,         -- the candidate_measured event
	PRIMARY KEY (namespace, request)
);
CREATE INDEX runs_by_model ON runs (namespace, model, requested_at);
CREATE INDEX runs_by_run ON runs (namespace, run);
CREATE TABLE versions (
	namespace       text COLLATE "C" NOT NULL,
	model           text COLLATE "C" NOT NULL,
	version         bigint NOT NULL,
	run             text NOT NULL,
	artifact        text NOT NULL,
	columns         text NOT NULL,
	trained_through timestamptz NOT NULL,
	PRIMARY KEY (namespace, model, version)
);
CREATE TABLE champions (
	namespace   text COLLATE "C" NOT NULL,
	model       text COLLATE "C" NOT NULL,
	environment text COLLATE "C" NOT NULL,
	version     bigint NOT NULL,
	PRIMARY KEY (namespace, model, environment)
);
`
