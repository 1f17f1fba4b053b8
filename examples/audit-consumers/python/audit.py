"""Reads the log's archive from Kafka and prints the events, one per line, exactly as
they were recorded. It uses nothing of Freshet."""

import argparse
import hashlib
import json
import sys
from datetime import datetime

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

PARTITION = TopicPartition("freshet.events", 0)  # one partition: its order is the log's


def records(args):
    # Without a group: it commits nothing and misses nothing.
    consumer = KafkaConsumer(
        bootstrap_servers=args.kafka, bootstrap_timeout_ms=5000, group_id=None, enable_auto_commit=False, max_partition_fetch_bytes=8 << 20
    )
    consumer.assign([PARTITION])
    end = consumer.end_offsets([PARTITION])[PARTITION]
    consumer.seek_to_beginning(PARTITION)
    if args.since:
        at = int(args.since.timestamp() * 1000)
        found = consumer.offsets_for_times({PARTITION: at})[PARTITION]
        consumer.seek(PARTITION, found.offset if found else end)
    while args.follow or consumer.position(PARTITION) < end:
        for batch in consumer.poll(timeout_ms=500).values():
            yield from batch


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kafka", default="127.0.0.1:9092", help="address of Kafka")
    parser.add_argument("--since", type=datetime.fromisoformat, help="only what was recorded from this time on (ISO 8601, with its zone)")
    parser.add_argument("--ripple", help="only this ripple")
    parser.add_argument("--model", help="only events about this model")
    parser.add_argument("--follow", action="store_true", help="go on with what comes")
    args = parser.parse_args()
    try:
        print_events(args)
    except KafkaError as error:
        sys.exit(f"{args.kafka} does not answer as Kafka does ({error!r}): freshet up prints the address of a suite's")
    except KeyboardInterrupt:
        pass


def print_events(args):
    last = 0
    for record in records(args):
        headers = dict(record.headers)
        sequence = int(headers["natsseq"])
        # Kafka may have stored a record twice; the log's own number tells.
        if sequence <= last:
            continue
        if last and sequence != last + 1:
            sys.exit(f"offset {record.offset}: {sequence} follows {last}: something is missing")
        last = sequence
        if headers["digest"].decode() != "sha256:" + hashlib.sha256(record.value or b"").hexdigest():
            sys.exit(f"offset {record.offset}: the event at sequence {sequence} is not the one that was recorded")
        if (record.key or b"").startswith(b"/"):
            continue  # somebody published what is no event
        event = json.loads(record.value)
        if args.ripple and event["correlationid"] != args.ripple:
            continue
        if args.model and event.get("data", {}).get("model") != args.model:
            continue
        sys.stdout.buffer.write(record.value + b"\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
