package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/freshet-io/freshet/cmd/freshet/internal/running"
	"github.com/freshet-io/freshet/cmd/freshet/internal/suite"
	"github.com/freshet-io/freshet/libs/clock"
)

// Options of a run.
type Options struct {
	Days    int    // of January 2001, beginning on the 6th
	DataDir string // everything is kept here
	Listen  string
	JSON    string // where the report goes as JSON; nowhere if empty
	Stay    bool   // stay up when the days are over
	Kept    bool   // DataDir outlives the run
	TTY     bool
	// Meanwhile is called after each half hour of the days, when the suite has settled.
	Meanwhile func(ctx context.Context, at time.Time, s *suite.Suite) error
	Out       io.Writer
	Logger    *slog.Logger
}

const (
	step         = 30 * time.Minute
	idleTimeout  = 2 * time.Minute // with a suite in which nothing moves
	stayPace     = 2 * time.Second // real time per step when the demo stays up
	changeDay    = 9               // the code commit comes on the day after so many, at ten
	badFileDay   = 5               // the producer's mistake comes at the end of this day
	lastDay      = 26              // days that the example has from the 6th
	lastingModel = "production/flight-delays"
)

var firstDay = time.Date(2001, 1, 6, 0, 0, 0, 0, time.UTC)

// Run starts the suite in Options.DataDir and carries it through the days.
func Run(ctx context.Context, o Options) error {
	if o.Days < 1 || o.Days > lastDay {
		return fmt.Errorf("--days is %d; the example has 1 to %d days from 6 January 2001", o.Days, lastDay)
	}
	if err := writable(o.JSON); err != nil {
		return fmt.Errorf("--json: %w", err)
	}
	d := &demo{Options: o, clock: clock.NewDriven(firstDay), observer: newObserver(o.Out, o.TTY), at: firstDay}
	err := d.run(ctx)
	if err == nil || ctx.Err() == nil {
		return err
	}
	if o.TTY {
		_, _ = fmt.Fprintln(o.Out) // leaves the progress line
	}
	return stoppedError{done: int(d.at.Sub(firstDay).Hours() / 24), of: o.Days}
}

// stoppedError: somebody ended the demo before its days were over.
type stoppedError struct{ done, of int }

func (e stoppedError) Error() string {
	return fmt.Sprintf("stopped after %d of %s", e.done, days(e.of))
}

// Unwrap says that it was told to.
func (e stoppedError) Unwrap() error { return context.Canceled }

func days(n int) string {
	if n == 1 {
		return "1 day"
	}
	return fmt.Sprintf("%d days", n)
}

// writable creates a file, so that a run does not end with a report that nobody gets.
func writable(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

func (d *demo) run(ctx context.Context) error {
	o := d.Options
	began := time.Now()
	_, _ = fmt.Fprintf(o.Out, "Freshet carries %s of real flights, from %s on, through %d services. Its data is in %s.\n",
		days(o.Days), firstDay.Format("2 January 2006"), len(suite.Names()), o.DataDir)

	loaded := make(chan error, 1)
	loading := o.Days
	if o.Stay {
		loading = lastDay
	}
	go func() {
		var err error
		d.world, err = loadWorld(firstDay, loading)
		loaded <- err
	}()
	s, err := suite.Start(ctx, suite.Options{DataDir: o.DataDir, Listen: o.Listen, Clock: d.clock, Logger: o.Logger})
	if err != nil {
		return errors.Join(err, <-loaded)
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := s.Stop(stop); err != nil {
			o.Logger.Error("stopping the suite", "error", err)
		}
	}()
	if err := <-loaded; err != nil {
		return err
	}
	if forget, err := running.Note(s.URL(), o.DataDir); err == nil { // else the command line needs FRESHET_DATA_DIR
		defer forget()
	}
	_, _ = fmt.Fprintf(o.Out, "The suite was ready after %.1f s: %s\n", time.Since(began).Seconds(), s.URL())

	if err := d.begin(ctx, s); err != nil {
		return err
	}
	defer d.end()
	started := time.Now()
	end := firstDay.AddDate(0, 0, o.Days)
	if err := d.live(ctx, end, 0); err != nil {
		return err
	}
	seconds := time.Since(started).Seconds()
	if err := d.report(ctx, seconds, time.Since(began).Seconds()); err != nil {
		return err
	}
	if !o.Stay {
		after := "To look around: freshet demo --data-dir demo, then freshet up --data-dir demo"
		if o.Kept {
			after = "To look around: freshet up --data-dir " + o.DataDir
		}
		_, _ = fmt.Fprintf(o.Out, "%s\n", after)
		return nil
	}
	after := "its data goes with it, unless it ran with --keep or --data-dir"
	if o.Kept {
		after = "freshet up --data-dir " + o.DataDir + " brings it back"
	}
	_, _ = fmt.Fprintf(o.Out, `
The suite stays up, and its clock continues at %.0f times real time. To continue:
  - open %s and watch; approve there what waits for a person
  - edit l2 in %s, then: git -C %s commit -am "less penalty"
  - freshet events tail, freshet models list, freshet why %s
Ctrl-C stops it; %s.
`, step.Seconds()/stayPace.Seconds(), s.ConsoleLink(), filepath.Join(d.repository.dir, "freshet.yaml"), d.repository.dir, lastingModel, after)
	err = d.live(ctx, firstDay.AddDate(0, 0, lastDay), stayPace)
	if err == nil {
		<-ctx.Done()
	}
	if errors.Is(err, context.Canceled) || ctx.Err() != nil {
		return nil
	}
	return err
}

type demo struct {
	Options
	clock       *clock.Driven
	world       *world
	observer    *observer
	suite       *suite.Suite
	api         *api
	producer    *producer
	application *application
	repository  *repository

	at       time.Time // how far the days have come
	followed chan error
	closers  []func()
}

// begin connects everybody and has the model declared.
func (d *demo) begin(ctx context.Context, s *suite.Suite) error {
	d.suite = s
	d.api = &api{url: s.URL(), token: s.Token(), http: &http.Client{Timeout: idleTimeout}}
	d.application = &application{api: d.api, answers: map[string]answer{}}
	var (
		stop func()
		err  error
	)
	if d.producer, stop, err = newProducer(d.api, s.ProducerURL(), s.KafkaAddr()); err != nil {
		return err
	}
	d.closers = append(d.closers, stop)
	reading, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.followed = make(chan error, 1)
	go func() { d.followed <- follow(reading, s.KafkaAddr(), d.observer) }()
	d.closers = append(d.closers, func() { cancel(); <-d.followed }) //nolint:errcheck // it ends as it is told to
	if d.repository, err = createRepository(ctx, filepath.Join(d.DataDir, "repositories", "flight-delays")); err != nil {
		return err
	}
	if err := d.api.post(ctx, "/v1/repositories", map[string]any{"name": "flight-delays", "url": d.repository.dir, "branch": "main"}, nil); err != nil {
		return err
	}
	if err := d.committed(ctx); err != nil {
		return err
	}
	return d.settle(ctx)
}

// settle waits until the suite has nothing left to do, and the observer has read its events.
func (d *demo) settle(ctx context.Context) error {
	end, err := d.api.settled(ctx)
	if err != nil {
		return err
	}
	return d.observer.caughtUp(ctx, end)
}

func (d *demo) end() {
	for i := len(d.closers) - 1; i >= 0; i-- {
		d.closers[i]()
	}
}

// live moves the clock to end, step by step. At each step what became known is
// told, who leaves next is asked about, and at midnight the day is published.
// With a pace it takes that long per step; without, as long as the suite needs.
func (d *demo) live(ctx context.Context, end time.Time, pace time.Duration) error {
	for d.at.Before(end) {
		if err := ctx.Err(); err != nil {
			return err
		}
		from := d.at
		if err := d.application.ask(ctx, d.world.leaving(from, from.Add(step))); err != nil {
			return err
		}
		if pace > 0 {
			select {
			case <-time.After(pace):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		d.at = from.Add(step)
		d.clock.Set(d.at)
		if err := d.application.pushOutcomes(ctx, d.world.becameKnown(from, d.at)); err != nil {
			return err
		}
		if err := d.dailyWork(ctx); err != nil {
			return err
		}
		if err := d.settle(ctx); err != nil {
			return err
		}
		// At a terminal that stays up, its person approves.
		for pace == 0 && d.observer.waits() {
			if err := d.approve(ctx); err != nil {
				return err
			}
			if err := d.settle(ctx); err != nil {
				return err
			}
		}
		d.observer.progress(d.at, d.application.asked)
		if d.Meanwhile != nil {
			if err := d.Meanwhile(ctx, d.at, d.suite); err != nil {
				return err
			}
		}
		select {
		case err := <-d.followed:
			d.followed <- err
			return fmt.Errorf("reading the log ended before the demo: %w", err)
		default:
		}
	}
	return nil
}

// dailyWork are what people do at an instant: publish, commit.
func (d *demo) dailyWork(ctx context.Context) error {
	day := int(d.at.Sub(firstDay).Hours() / 24)
	midnight := d.at.Equal(firstDay.AddDate(0, 0, day))
	if midnight {
		if err := d.publish(ctx, day); err != nil {
			return err
		}
	}
	if day == changeDay && d.at.Hour() == 10 && d.at.Minute() == 0 {
		if err := d.repository.change(ctx); err != nil {
			return err
		}
		if err := d.committed(ctx); err != nil {
			return err
		}
	}
	return nil
}

// publish sends the file of the day that ended; once, a spoilt one goes before.
func (d *demo) publish(ctx context.Context, day int) error {
	flights := d.world.becameKnown(d.at.AddDate(0, 0, -1), d.at)
	name := d.at.AddDate(0, 0, -1).Format("flights-2006-01-02")
	if day == badFileDay {
		spoilt := append([]flight(nil), flights...)
		for i := range spoilt {
			if i%3 == 0 {
				spoilt[i].destination = spoilt[i].origin // a column copied over another
			}
		}
		raw, err := parquetOf(spoilt)
		if err != nil {
			return err
		}
		if _, err := d.producer.publish(ctx, name+"-spoilt", raw, d.at); err != nil {
			return err
		}
		if err := d.arrived(ctx, "data_rejected"); err != nil {
			return err
		}
	}
	raw, err := parquetOf(flights)
	if err != nil {
		return err
	}
	if _, err := d.producer.publish(ctx, name, raw, d.at); err != nil {
		return fmt.Errorf("publishing %s: %w", name, err)
	}
	return d.arrived(ctx, "data_committed")
}

// arrived waits until the log has the answer to the last arrival, so that the
// clock does not run ahead of the buses.
func (d *demo) arrived(ctx context.Context, outcome string) error {
	return d.await(ctx, "io.freshet.ingestion.v1."+outcome)
}

func (d *demo) committed(ctx context.Context) error {
	return d.await(ctx, "io.freshet.ingestion.v1.code_committed")
}

// await waits for the next event of a type.
func (d *demo) await(ctx context.Context, typ string) error {
	if err := d.observer.await(ctx, typ); err != nil {
		return fmt.Errorf("waiting for %s: %w", typ, err)
	}
	return nil
}

// approve does what a person does at the console.
func (d *demo) approve(ctx context.Context) error {
	var waiting struct {
		Items []struct {
			Model       string `json:"model"`
			Version     int64  `json:"version"`
			Environment string `json:"environment"`
		} `json:"items"`
	}
	if err := d.api.get(ctx, "/v1/approvals", &waiting); err != nil {
		return err
	}
	for _, w := range waiting.Items {
		err := d.api.post(ctx, "/v1/approvals", map[string]any{"model": w.Model, "version": w.Version, "environment": w.Environment,
			"verdict": "approve", "note": "better than what we have"}, nil)
		if err != nil && status(err) != http.StatusConflict { // overtaken meanwhile
			return err
		}
	}
	return nil
}
