#!/usr/bin/env bash
# Reads the log's archive from Kafka and prints the events, one per line, exactly as they
# were recorded. It uses nothing of Freshet: kafka-console-consumer.sh of Apache Kafka,
# awk, and jq where it is to choose.
#
# usage: audit.sh [--kafka ADDRESS] [--since TIME] [--ripple ID] [--model MODEL] [--wait SECONDS] [--follow]
set -euo pipefail

kafka=127.0.0.1:9092 since=0 ripple='' model='' follow=''
wait=5 # seconds: it ends when nothing more has come for so long
while [ $# -gt 0 ]; do
  case $1 in
    --kafka) kafka=$2; shift 2 ;;
    --since) since=$(date -d "$2" +%s000); shift 2 ;; # GNU's date
    --ripple) ripple=$2; shift 2 ;;
    --model) model=$2; shift 2 ;;
    --wait) wait=$2; shift 2 ;;
    --follow) follow=yes; shift ;;
    *) sed -n 's/^# usage/usage/p' "$0" >&2; exit 2 ;;
  esac
done

# One partition: its order is the log's. It commits nothing and misses nothing. A line is
# the time of recording, the headers and the event.
records() {
  local end=()
  if [ -z "$follow" ]; then end=(--timeout-ms "${wait}000"); fi
  kafka-console-consumer.sh --bootstrap-server "$kafka" --topic freshet.events --partition 0 --offset earliest \
    --property print.timestamp=true --property print.headers=true ${end[@]+"${end[@]}"}
}

# Kafka may have stored a record twice; the log's own number, natsseq, tells.
events() {
  awk -F '\t' -v since="$since" -v kafka="$kafka" '
    match($2, /(^|,)natsseq:[0-9]+/) {
      sequence = substr($2, RSTART, RLENGTH); sub(/.*:/, "", sequence); sequence += 0
      if (sequence <= last) next
      if (last && sequence != last + 1) {
        print "sequence " sequence " follows " last ": something is missing" > "/dev/stderr"
        exit wrong = 1
      }
      last = sequence
      if (substr($1, index($1, ":") + 1) + 0 >= since) { print $3; fflush() }
    }
    END {
      if (wrong) exit wrong
      if (!last) { print kafka " has nothing: freshet up prints the address of a suite\047s Kafka" > "/dev/stderr"; exit 1 }
      print "read up to sequence " last > "/dev/stderr"
    }'
}

chosen() {
  if [ -z "$ripple$model" ]; then
    cat
  else
    jq --unbuffered -R -r --arg ripple "$ripple" --arg model "$model" '. as $line | fromjson? # what is no event is left out
      | select(($ripple == "" or .correlationid == $ripple) and ($model == "" or .data.model? == $model)) | $line'
  fi
}

records | events | chosen
