-- +goose Up
CREATE TABLE keeper_services (         -- who applies the log, as last heard
	service  text COLLATE "C" PRIMARY KEY,
	epoch    bigint NOT NULL,
	sequence bigint NOT NULL,
	digest   bytea NOT NULL,
	stopped  boolean NOT NULL,         -- it said that it had stopped there
	heard    timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE keeper_epochs (           -- every epoch that was opened after the first
	epoch    bigint PRIMARY KEY,
	begins   bigint NOT NULL,          -- the stream's first sequence
	archived bigint NOT NULL,          -- what the archive had then
	restored bigint NOT NULL,          -- the last sequence that was put back
	reason   text NOT NULL,
	recorded boolean NOT NULL DEFAULT false,
	opened   timestamptz NOT NULL DEFAULT now()
);

-- +goose Down
DROP TABLE keeper_epochs;
DROP TABLE keeper_services;
