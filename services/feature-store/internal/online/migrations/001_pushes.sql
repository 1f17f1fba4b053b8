-- +goose Up
CREATE TABLE pushes (                    -- batches of the topic of pushed rows that were entered
	first_offset bigint      NOT NULL PRIMARY KEY,
	next_offset  bigint      NOT NULL,
	newest       timestamptz NOT NULL    -- time of its newest row
);
CREATE INDEX pushes_newest ON pushes (newest);
