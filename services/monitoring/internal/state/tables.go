// Package state is the fold: the tables, what each event changes in them, and
// the queries. It is the only place that writes them. Statistics come with the
// events; the fold computes none.
package state

// FoldVersion is raised whenever Tables, an apply or the events consumed change.
const FoldVersion = 1

// Tables are the fold's. Durations are nanoseconds, lists of rules JSON.
const Tables = `
CREATE TABLE models (
	namespace  text COLLATE "C" NOT NULL,
	model      text COLLATE "C" NOT NULL,
	dataset    text COLLATE "C" NOT NULL,
	label      text COLLATE "C" NOT NULL,
	task       text COLLATE "C" NOT NULL,
	prediction text COLLATE "C" NOT NULL,
	fields     text[] COLLATE "C" NOT NULL,
	every      bigint NOT NULL,
	psi        double precision NOT NULL,
	alarms     text COLLATE "C" NOT NULL,
	PRIMARY KEY (namespace, model)
);
CREATE TABLE datasets (
	namespace text COLLATE "C" NOT NULL,
	dataset   text COLLATE "C" NOT NULL,
	keys      text[] COLLATE "C" NOT NULL,
	PRIMARY KEY (namespace, dataset)
);
CREATE TABLE versions (
	namespace text COLLATE "C" NOT NULL,
	model     text COLLATE "C" NOT NULL,
	version   bigint NOT NULL,
	profile   text COLLATE "C" NOT NULL,
	PRIMARY KEY (namespace, model, version)
);
CREATE TABLE watches (
	namespace   text COLLATE "C" NOT NULL,
	model       text COLLATE "C" NOT NULL,
	environment text COLLATE "C" NOT NULL,
	champion    bigint NOT NULL,
	closed_to   timestamptz NOT NULL,
	PRIMARY KEY (namespace, model, environment)
);
CREATE TABLE canaries (
	namespace   text COLLATE "C" NOT NULL,
	rollout     text COLLATE "C" NOT NULL,
	model       text COLLATE "C" NOT NULL,
	environment text COLLATE "C" NOT NULL,
	version     bigint NOT NULL,
	previous    bigint,
	state       text COLLATE "C" NOT NULL,
	step        bigint NOT NULL,
	stepped     timestamptz NOT NULL,
	requests    bigint NOT NULL,
	at_least    bigint NOT NULL,
	rules       text COLLATE "C" NOT NULL,
	cause       text COLLATE "C" NOT NULL,
	correlation text COLLATE "C" NOT NULL,
	hops        bigint NOT NULL,
	traceparent text COLLATE "C" NOT NULL,
	PRIMARY KEY (namespace, rollout)
);
CREATE TABLE live (
	namespace   text COLLATE "C" NOT NULL,
	model       text COLLATE "C" NOT NULL,
	environment text COLLATE "C" NOT NULL,
	metric      text COLLATE "C" NOT NULL,
	value       double precision NOT NULL,
	PRIMARY KEY (namespace, model, environment, metric)
);
CREATE TABLE alerts (
	namespace   text COLLATE "C" NOT NULL,
	alert       text COLLATE "C" NOT NULL,
	model       text COLLATE "C" NOT NULL,
	environment text COLLATE "C" NOT NULL,
	kind        text COLLATE "C" NOT NULL,
	name        text COLLATE "C" NOT NULL,
	payload     text COLLATE "C" NOT NULL,
	raised      timestamptz NOT NULL,
	resolved    timestamptz,
	PRIMARY KEY (namespace, alert)
);
CREATE TABLE windows (
	namespace   text COLLATE "C" NOT NULL,
	id          text COLLATE "C" NOT NULL,
	model       text COLLATE "C" NOT NULL,
	environment text COLLATE "C" NOT NULL,
	kind        text COLLATE "C" NOT NULL,
	ends        timestamptz NOT NULL,
	payload     text COLLATE "C" NOT NULL,
	PRIMARY KEY (namespace, id)
);
CREATE INDEX windows_newest ON windows (namespace, ends DESC, id);
`
