// Package state is the feature store's fold: its tables, what each event changes
// in them, and the queries over them. Nothing else writes these tables.
package state

// FoldVersion is raised whenever the tables, an apply or the consumed events change.
const FoldVersion = 1

// Tables are the fold's tables. Specifications are kept as they were declared.
const Tables = `
CREATE TABLE datasets (
	namespace text COLLATE "C" NOT NULL,
	dataset   text COLLATE "C" NOT NULL,
	spec      jsonb NOT NULL,
	PRIMARY KEY (namespace, dataset)
);
CREATE TABLE commits (
	namespace text COLLATE "C" NOT NULL,
	dataset   text COLLATE "C" NOT NULL,
	commit    text COLLATE "C" NOT NULL,
	number    bigint NOT NULL,
	event     text NOT NULL,
	files     jsonb NOT NULL,          -- those that the commit added
	spec      jsonb NOT NULL,          -- of the dataset, as it was checked against
	PRIMARY KEY (namespace, dataset, commit)
);
CREATE INDEX commits_by_number ON commits (namespace, dataset, number);
CREATE TABLE views (
	namespace text COLLATE "C" NOT NULL,
	view      text COLLATE "C" NOT NULL,
	version   bigint NOT NULL,
	digest    text NOT NULL,
	dataset   text COLLATE "C" NOT NULL, -- empty: computed from requests
	spec      jsonb NOT NULL,
	error     text NOT NULL,           -- why it cannot be computed
	event     text NOT NULL,
	at        timestamptz NOT NULL,
	PRIMARY KEY (namespace, view, version)
);
CREATE INDEX views_by_dataset ON views (namespace, dataset);
CREATE TABLE materialisations (
	namespace text COLLATE "C" NOT NULL,
	view      text COLLATE "C" NOT NULL,
	version   bigint NOT NULL,
	dataset   text COLLATE "C" NOT NULL,
	commit    text COLLATE "C" NOT NULL,
	file      text NOT NULL,           -- digest of the object; empty where there is none
	rows      bigint NOT NULL,
	entities  bigint NOT NULL,
	through   timestamptz,             -- newest time among the rows
	error     text NOT NULL,
	at        timestamptz NOT NULL,
	PRIMARY KEY (namespace, view, version, commit)
);
CREATE TABLE models (
	namespace text COLLATE "C" NOT NULL,
	model     text COLLATE "C" NOT NULL,
	spec      jsonb NOT NULL,
	PRIMARY KEY (namespace, model)
);
CREATE TABLE training_sets (
	namespace    text COLLATE "C" NOT NULL,
	request      text COLLATE "C" NOT NULL, -- the event that asked for it
	model        text COLLATE "C" NOT NULL,
	as_of        timestamptz NOT NULL,
	training_set text NOT NULL,        -- empty until it is built
	failed       text NOT NULL,        -- the reason, if it failed
	built        jsonb,                -- the whole fact
	at           timestamptz NOT NULL,
	PRIMARY KEY (namespace, request)
);
CREATE TABLE catalog (                 -- one row: how often anything above changed that serving follows
	id       integer NOT NULL PRIMARY KEY,
	revision bigint NOT NULL
);
`
