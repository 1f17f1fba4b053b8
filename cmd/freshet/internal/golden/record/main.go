// Command record makes the golden log: the demo's days, and after them what
// people do who are not content with it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/freshet-io/freshet/cmd/freshet/internal/demo"
	"github.com/freshet-io/freshet/cmd/freshet/internal/golden"
	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/postgres"
	"github.com/freshet-io/freshet/libs/service"
	"github.com/freshet-io/freshet/services/training"
)

func main() {
	if training.RunBuiltin() { // this process is a training job
		return
	}
	days := flag.Int("days", 20, "days of the demo")
	dir := flag.String("data-dir", "", "an empty directory; its path is in the log")
	out := flag.String("out", "", "the file to write")
	flag.Parse()
	if err := run(context.Background(), *days, *dir, *out); err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, days int, dir, out string) error {
	if dir == "" || out == "" {
		return errors.New("--data-dir and --out are needed")
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	pg, err := postgres.Start(ctx, postgres.Options{DataDir: dir, Logger: logger}) // here, because after asks it for more than the suite does
	if err != nil {
		return err
	}
	defer func() { _ = pg.Stop(context.WithoutCancel(ctx)) }()
	if err := os.Setenv("FRESHET_POSTGRES_URL", pg.URL()); err != nil {
		return err
	}
	if err := before(ctx, dir, logger); err != nil {
		return err
	}
	err = demo.Run(ctx, demo.Options{Days: days, DataDir: dir, Listen: "127.0.0.1:0", Kept: true, Out: os.Stdout, Logger: logger})
	if err != nil {
		return err
	}
	now := clock.NewDriven(firstDay.AddDate(0, 0, days))
	s, err := suite.Start(ctx, suite.Options{DataDir: dir, Auth: service.AuthNone, Listen: "127.0.0.1:0", Clock: now, Logger: logger})
	if err != nil {
		return err
	}
	var events [][]byte
	err = after(ctx, s, dir)
	if err == nil {
		o := &operator{suite: s, clock: now, dir: dir, database: pg.URL()}
		err = o.run(ctx)
	}
	if err == nil {
		events, err = read(ctx, s.KafkaAddr())
	}
	if err := errors.Join(err, s.Stop(ctx)); err != nil {
		return err
	}
	fmt.Printf("%d events in %s\n", len(events), out)
	return golden.Write(out, events)
}

var firstDay = time.Date(2001, 1, 6, 0, 0, 0, 0, time.UTC)

// before lets the log begin with a part of the suite: the others come to an old log.
func before(ctx context.Context, dir string, logger *slog.Logger) error {
	s, err := suite.Start(ctx, suite.Options{DataDir: dir, Auth: service.AuthNone, Listen: "127.0.0.1:0", Services: []string{"ingestion", "audit"},
		Clock: clock.NewDriven(firstDay), Logger: logger})
	if err != nil {
		return err
	}
	err = arrive(ctx, s.URL(), "too-early")
	if err == nil {
		err = settle(ctx, s.URL())
	}
	return errors.Join(err, s.Stop(ctx))
}

// arrive announces a file that is no data.
func arrive(ctx context.Context, url, name string) error {
	file, err := put(ctx, url+"/v1/files", []byte("no Parquet at all"))
	if err != nil {
		return err
	}
	return post(ctx, url+"/v1/arrivals", "application/cloudevents+json", fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":"/example/flights-producer",
		"type":"com.example.flights.arrived","datacontenttype":"application/json",
		"data":{"dataset":"flights","files":[{"uri":"objects:%s","format":"parquet","name":%[1]q}]}}`, name, file))
}

// after does what the demo's people do not.
func after(ctx context.Context, s *suite.Suite, dir string) error {
	if err := arrive(ctx, s.URL(), "unreadable"); err != nil {
		return err
	}
	for _, act := range []struct{ path, body string }{
		{"/v1/rollbacks", `{"model":"flight-delays","environment":"production"}`},
		{"/v1/trainings", `{"model":"flight-delays"}`},
		{"/v1/promotions", `{"model":"flight-delays","version":1,"environment":"staging"}`},
		{"/v1/repositories", fmt.Sprintf(`{"name":"flight-delays-fork","url":%q,"branch":"main"}`, filepath.Join(dir, "repositories", "flight-delays"))},
	} {
		if err := post(ctx, s.URL()+act.path, jsonType, []byte(act.body)); err != nil {
			return err
		}
		if err := settle(ctx, s.URL()); err != nil {
			return err
		}
	}
	if err := deny(ctx, s.URL()); err != nil {
		return err
	}
	return settle(ctx, s.URL())
}

// deny denies whatever waits for a person.
func deny(ctx context.Context, url string) error {
	var waiting struct{ Items []map[string]any }
	if err := get(ctx, url+"/v1/approvals", &waiting); err != nil {
		return err
	}
	for _, w := range waiting.Items {
		raw, err := json.Marshal(map[string]any{"model": w["model"], "version": w["version"], "environment": w["environment"], "verdict": "deny",
			"note": "not on a Friday"})
		if err != nil {
			return err
		}
		if err := post(ctx, url+"/v1/approvals", jsonType, raw); err != nil {
			return err
		}
	}
	return nil
}

const jsonType = "application/json"

// post sends what must be taken.
func post(ctx context.Context, url, kind string, body []byte) error {
	_, err := send(ctx, http.MethodPost, url, kind, body)
	return err
}

// put uploads a file and returns its digest.
func put(ctx context.Context, url string, file []byte) (string, error) {
	answer, err := send(ctx, http.MethodPut, url, "application/octet-stream", file)
	if err != nil {
		return "", err
	}
	var ref struct{ Digest string }
	err = json.Unmarshal(answer, &ref)
	return ref.Digest, err
}

func send(ctx context.Context, method, url, kind string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", kind)
	r.Header.Set("X-Freshet-Console", "golden")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s: %s", method, url, res.Status, answer)
	}
	return answer, err
}

func get(ctx context.Context, url string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return json.NewDecoder(res.Body).Decode(into)
}

// settle waits until nothing is left to do, twice in a row.
func settle(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for quiet := 0; quiet < 3; {
		var st suite.Status
		if err := get(ctx, url+"/statusz", &st); err != nil {
			return err
		}
		if quiet++; !st.Settled {
			quiet = 0
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("the suite did not settle: %w", ctx.Err())
		}
	}
	return nil
}

// read reads the log, as its archive has it, from its first event to its last.
func read(ctx context.Context, kafkaAddr string) (events [][]byte, err error) {
	client := kafka.New(kafkaAddr)
	defer client.Close()
	reader := archive.New(client)
	last, err := reader.Tail(ctx)
	if err != nil {
		return nil, err
	}
	err = reader.Read(ctx, 1, last.Sequence, func(batch []archive.Record) error {
		for _, r := range batch {
			events = append(events, r.Data)
		}
		return nil
	})
	return events, err
}
