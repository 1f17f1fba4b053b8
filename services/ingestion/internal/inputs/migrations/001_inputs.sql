-- +goose Up
CREATE TABLE input_positions ( -- how far outside streams are read: everything up to here is recorded or quarantined
    input    text PRIMARY KEY,
    position bigint NOT NULL
);
CREATE TABLE quarantined_events ( -- what came from outside and could not be taken
    input      text NOT NULL,
    position   text NOT NULL,
    namespace  text NOT NULL,
    reason     text NOT NULL,
    detail     text NOT NULL,
    source     text NOT NULL,
    event_id   text NOT NULL,
    event_type text NOT NULL,
    body       bytea NOT NULL,
    bytes      bigint NOT NULL,
    received   timestamptz NOT NULL,
    PRIMARY KEY (input, position)
);
CREATE INDEX quarantined_events_received ON quarantined_events (received);

-- +goose Down
DROP TABLE quarantined_events;
DROP TABLE input_positions;
