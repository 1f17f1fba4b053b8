// Package state is ingestion's fold: its tables, what each event changes in them,
// and the queries over them. Nothing else writes these tables.
package state

// FoldVersion is raised whenever the tables, an apply or the consumed events change.
const FoldVersion = 1

// Tables are the fold's tables.
const Tables = `CREATE TABLE repositories (
    namespace  text COLLATE "C" NOT NULL,
    repository text COLLATE "C" NOT NULL,
    url        text NOT NULL,
    branch     text NOT NULL,
    head       text NOT NULL, -- revision of the newest push, '' before the first
    pushes     bigint NOT NULL,
    status     text NOT NULL, -- connected, pushed, committed, rejected
    reason     text NOT NULL,
    problems   jsonb NOT NULL,
    revision   text NOT NULL, -- the newest that was committed
    changed    timestamptz NOT NULL,
    PRIMARY KEY (namespace, repository)
);
CREATE TABLE datasets (
    namespace   text COLLATE "C" NOT NULL,
    dataset     text COLLATE "C" NOT NULL,
    repository  text COLLATE "C" NOT NULL,
    spec_digest text NOT NULL,
    spec        text NOT NULL,
    PRIMARY KEY (namespace, dataset)
);
CREATE TABLE dataset_specs ( -- every spec there was: a file is committed under the one it was checked against
    namespace text COLLATE "C" NOT NULL,
    digest    text COLLATE "C" NOT NULL,
    spec      text NOT NULL,
    PRIMARY KEY (namespace, digest)
);
CREATE TABLE views (
    namespace  text COLLATE "C" NOT NULL,
    view       text COLLATE "C" NOT NULL,
    repository text COLLATE "C" NOT NULL,
    spec       text NOT NULL,
    PRIMARY KEY (namespace, view)
);
CREATE TABLE models (
    namespace       text COLLATE "C" NOT NULL,
    model           text COLLATE "C" NOT NULL,
    repository      text COLLATE "C" NOT NULL,
    code            text NOT NULL,
    code_digest     text NOT NULL,
    spec            text NOT NULL,
    training_digest text NOT NULL,
    PRIMARY KEY (namespace, model)
);
CREATE TABLE arrivals (
    namespace    text COLLATE "C" NOT NULL,
    arrival      text COLLATE "C" NOT NULL,
    dataset      text COLLATE "C" NOT NULL,
    via          text NOT NULL,
    origin       text NOT NULL, -- source of the outside event
    origin_id    text NOT NULL,
    origin_type  text NOT NULL,
    files        text NOT NULL,
    arrived      timestamptz NOT NULL,
    status       text NOT NULL, -- arrived, checked, committed, rejected
    reason       text NOT NULL,
    PRIMARY KEY (namespace, arrival)
);
CREATE INDEX arrivals_origin ON arrivals (namespace, origin_id);
CREATE TABLE arrival_files (
    namespace text COLLATE "C" NOT NULL,
    arrival   text COLLATE "C" NOT NULL,
    digest    text COLLATE "C" NOT NULL,
    PRIMARY KEY (namespace, arrival, digest)
);
CREATE TABLE committed_files ( -- as they arrived: the same file again is a duplicate
    namespace text COLLATE "C" NOT NULL,
    dataset   text COLLATE "C" NOT NULL,
    digest    text COLLATE "C" NOT NULL,
    number    bigint NOT NULL,
    PRIMARY KEY (namespace, dataset, digest)
);
CREATE TABLE commits (
    namespace   text COLLATE "C" NOT NULL,
    dataset     text COLLATE "C" NOT NULL,
    number      bigint NOT NULL,
    digest      text COLLATE "C" NOT NULL,
    parent      text NOT NULL,
    event       text NOT NULL,
    arrival     text NOT NULL,
    committed   timestamptz NOT NULL,
    spec_digest text NOT NULL,
    manifest    text NOT NULL,
    profile     text NOT NULL,
    added       text NOT NULL,
    rows        bigint NOT NULL,
    added_rows  bigint NOT NULL,
    quarantined bigint NOT NULL,
    min_time    timestamptz,
    max_time    timestamptz,
    PRIMARY KEY (namespace, dataset, number)
);
`
