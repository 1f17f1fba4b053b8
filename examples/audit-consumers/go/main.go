// Command audit reads the log's archive from Kafka and prints the events, one per
// line, exactly as they were recorded. It uses nothing of Freshet.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"time"

	"github.com/segmentio/kafka-go"
)

const topic = "freshet.events" // one partition: its order is the log's

// envelope is what this reader looks at of an event (a CloudEvent in JSON).
type envelope struct {
	Type          string `json:"type"`
	Subject       string `json:"subject"`
	CorrelationID string `json:"correlationid"` // the ripple: everything that one cause set in motion
	Data          struct {
		Model string `json:"model"`
	} `json:"data"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	broker := flag.String("kafka", "127.0.0.1:9092", "address of Kafka")
	since := flag.String("since", "", "only what was recorded from this time on (RFC 3339)")
	ripple := flag.String("ripple", "", "only this ripple")
	model := flag.String("model", "", "only events about this model")
	follow := flag.Bool("follow", false, "continue with new events")
	flag.Parse()
	err := read(ctx, *broker, *since, *ripple, *model, *follow)
	interrupted := ctx.Err() != nil
	stop()
	if err != nil && !interrupted {
		fmt.Fprintln(os.Stderr, "audit:", err)
		os.Exit(1)
	}
}

func read(ctx context.Context, broker, since, ripple, model string, follow bool) error {
	conn, err := kafka.DialLeader(ctx, "tcp", broker, topic, 0)
	if err != nil {
		return err
	}
	_, end, err := conn.ReadOffsets()
	if err := errors.Join(err, conn.Close()); err != nil {
		return err
	}
	// A reader of a partition, without a group: it commits nothing and misses nothing.
	reader := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{broker}, Topic: topic, Partition: 0, StartOffset: kafka.FirstOffset,
		MinBytes: 1, MaxBytes: 8 << 20, MaxWait: 500 * time.Millisecond,
	})
	defer reader.Close()
	if since != "" {
		at, err := time.Parse(time.RFC3339, since)
		if err != nil {
			return err
		}
		if err := reader.SetOffsetAt(ctx, at); err != nil {
			return err
		}
		if reader.Offset() < 0 { // nothing is that new
			if err := reader.SetOffset(end); err != nil {
				return err
			}
		}
	}
	last := int64(0)
	for follow || reader.Offset() < end {
		m, err := reader.ReadMessage(ctx)
		if err != nil {
			return err
		}
		sequence, digest := int64(0), ""
		for _, h := range m.Headers {
			switch h.Key {
			case "natsseq":
				if sequence, err = strconv.ParseInt(string(h.Value), 10, 64); err != nil {
					return fmt.Errorf("offset %d: %w", m.Offset, err)
				}
			case "digest":
				digest = string(h.Value)
			}
		}
		// Kafka may have stored a record twice; the log's own number tells.
		if sequence <= last {
			continue
		}
		if last > 0 && sequence != last+1 {
			return fmt.Errorf("offset %d: %d follows %d: something is missing", m.Offset, sequence, last)
		}
		last = sequence
		if sum := sha256.Sum256(m.Value); digest != "sha256:"+hex.EncodeToString(sum[:]) {
			return fmt.Errorf("offset %d: the event at sequence %d is not the one that was recorded", m.Offset, sequence)
		}
		if bytes.HasPrefix(m.Key, []byte("/")) {
			continue // somebody published what is no event
		}
		var e envelope
		if err := json.Unmarshal(m.Value, &e); err != nil {
			return fmt.Errorf("offset %d: %w", m.Offset, err)
		}
		if (ripple == "" || e.CorrelationID == ripple) && (model == "" || e.Data.Model == model) {
			fmt.Printf("%s\n", m.Value)
		}
	}
	return nil
}
