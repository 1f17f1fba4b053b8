-- +goose Up
CREATE TABLE records (
	namespace    text COLLATE "C" NOT NULL,
	id           text COLLATE "C" NOT NULL,
	model        text COLLATE "C" NOT NULL,
	environment  text COLLATE "C" NOT NULL,
	at           timestamptz NOT NULL,
	rollout      text COLLATE "C" NOT NULL,
	step         bigint NOT NULL,
	rows         bigint NOT NULL,
	versions     bigint[] NOT NULL,
	version_rows bigint[] NOT NULL,
	failed       text COLLATE "C" NOT NULL,
	latency_ms   double precision NOT NULL,
	answers      bytea NOT NULL,
	features     bytea NOT NULL,
	PRIMARY KEY (namespace, id)
);
CREATE INDEX records_of ON records (namespace, model, environment, at);
CREATE INDEX records_of_step ON records (namespace, rollout, step) WHERE rollout <> '';
CREATE INDEX records_at ON records (at);

CREATE TABLE consumed (
	topic     text COLLATE "C" NOT NULL,
	partition bigint NOT NULL,
	next      bigint NOT NULL,
	PRIMARY KEY (topic, partition)
);

-- Records that broke their contract, set aside with the reason.
CREATE TABLE refused_records (
	topic     text COLLATE "C" NOT NULL,
	partition bigint NOT NULL,
	position  bigint NOT NULL,
	reason    text COLLATE "C" NOT NULL,
	value     bytea NOT NULL,
	PRIMARY KEY (topic, partition, position)
);

-- +goose Down
DROP TABLE refused_records;
DROP TABLE consumed;
DROP TABLE records;
