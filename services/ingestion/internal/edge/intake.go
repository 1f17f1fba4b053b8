package edge

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/web"
	"github.com/freshet-io/freshet/services/ingestion/internal/domain"
	"github.com/freshet-io/freshet/services/ingestion/internal/inputs"
	"github.com/freshet-io/freshet/services/ingestion/internal/state"
	"github.com/prometheus/client_golang/prometheus"
)

// maxFiles of one arrival.
const maxFiles = 64

// conflictWait is how long a conflict waits for the first event to be folded, so
// that its content can be compared.
const conflictWait = 5 * time.Second

// Intake takes outside events, by whichever way they come.
type Intake struct {
	log    *eventlog.Log
	inputs *inputs.Store
	files  *Files
	clock  clock.Clock
	logger *slog.Logger

	taken   *prometheus.CounterVec
	refused *prometheus.CounterVec
}

// NewIntake returns the intake of a service.
func NewIntake(l *eventlog.Log, store *inputs.Store, files *Files, c clock.Clock, logger *slog.Logger, metrics prometheus.Registerer) (*Intake, error) {
	i := &Intake{log: l, inputs: store, files: files, clock: c, logger: logger,
		taken: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "freshet_ingestion_arrivals_total",
			Help: "Outside events taken, by way in; again counts those that had been taken before."}, []string{"via", "again"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "freshet_ingestion_refused_total",
			Help: "Outside events refused, by way in and reason. A conflict means that two events share an identity."}, []string{"via", "reason"}),
	}
	return i, errors.Join(metrics.Register(i.taken), metrics.Register(i.refused))
}

// arrive records that an outside event announced files. The bytes are in the
// object store when the fact is recorded.
func (i *Intake) arrive(ctx context.Context, via, transport string, e event.Event) (eventlog.Receipt, error) {
	namespace, err := namespaceOf(e, transport)
	if err != nil {
		return eventlog.Receipt{}, err
	}
	p, err := events.Parse[events.Arrival](e)
	if err != nil {
		return eventlog.Receipt{}, refuse(reasonPayload, http.StatusBadRequest, "Bad arrival", "%s", err)
	}
	if len(p.Files) == 0 || len(p.Files) > maxFiles {
		return eventlog.Receipt{}, refuse(reasonPayload, http.StatusBadRequest, "Bad arrival", "files has %d entries; from 1 to %d are taken", len(p.Files), maxFiles)
	}
	a := events.DataArrived{Dataset: p.Dataset, Files: []events.ArrivedFile{}, Via: via,
		Origin: events.OutsideEvent{Source: e.Source(), ID: e.ID(), Type: e.Type()}}
	seen := map[string]bool{}
	for _, f := range p.Files {
		file, err := i.files.take(ctx, f)
		if err != nil {
			return eventlog.Receipt{}, err
		}
		if seen[file.Object.Digest] {
			return eventlog.Receipt{}, refuse(reasonFile, http.StatusBadRequest, "Bad arrival", "the file %q is named twice", file.Name)
		}
		seen[file.Object.Digest] = true
		a.Files = append(a.Files, file)
	}
	draft, err := events.NewDataArrived(namespace, p.Dataset, a)
	if err != nil {
		return eventlog.Receipt{}, refuse(reasonPayload, http.StatusBadRequest, "Bad arrival", "%s", err)
	}
	r, err := i.log.Record(ctx, eventlog.Fact{Event: draft, Key: []string{"arrival", a.Origin.Source, a.Origin.ID, a.Origin.Type}})
	if errors.Is(err, eventlog.ErrConflict) {
		return i.conflict(ctx, via, namespace, a)
	}
	if err != nil {
		return eventlog.Receipt{}, err
	}
	i.count(via, r[0].Existing)
	return r[0], nil
}

func (i *Intake) count(via string, again bool) {
	label := "no"
	if again {
		label = "yes"
	}
	i.taken.WithLabelValues(via, label).Inc()
}

// conflict tells an event that came a second time by another way, which is the
// same, from another one that bears its identity.
func (i *Intake) conflict(ctx context.Context, via, namespace string, a events.DataArrived) (eventlog.Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, conflictWait)
	defer cancel()
	for {
		changed := i.log.Changed()
		first, ok, err := state.ArrivalFrom(ctx, i.log.State(), namespace, a.Origin)
		if err != nil {
			return eventlog.Receipt{}, err
		}
		if ok {
			if sameArrival(first, a) {
				i.count(via, true)
				return eventlog.Receipt{ID: first.Arrival, Existing: true}, nil
			}
			return eventlog.Receipt{}, refuse(reasonConflict, http.StatusConflict, "Conflict",
				"an event with this source, id and type was recorded before as %s, with other content; give every event an id of its own", first.Arrival)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return eventlog.Receipt{}, ctx.Err()
		}
	}
}

func sameArrival(first state.Arrival, a events.DataArrived) bool {
	if first.Dataset != a.Dataset || len(first.Files) != len(a.Files) {
		return false
	}
	for i := range a.Files {
		if first.Files[i].Object.Digest != a.Files[i].Object.Digest || first.Files[i].Format != a.Files[i].Format {
			return false
		}
	}
	return true
}

// namespaceOf is the event's namespace. What the transport says, where it says
// anything, decides who may write there, so an event cannot claim another.
func namespaceOf(e event.Event, transport string) (string, error) {
	said, _ := e.Extensions()[events.ExtNamespace].(string)
	switch {
	case said == "" && transport == "":
		return web.DefaultNamespace, nil
	case said == "":
		said = transport
	case transport != "" && said != transport:
		return "", refuse(reasonNamespace, http.StatusBadRequest, "Bad namespace", "the event says %.80q, its address %.80q", said, transport)
	}
	if !domain.IsName(said) {
		return "", refuse(reasonNamespace, http.StatusBadRequest, "Bad namespace",
			"%.80q is no name: 1 to 63 of a-z, 0-9, _, . and -, first a letter or digit", said)
	}
	return said, nil
}

// quarantine keeps what could not be taken, with its reason, and raises the alarm
// where two events bear one identity.
func (i *Intake) quarantine(ctx context.Context, input, via, position, namespace string, e *event.Event, body []byte, r *refusal) error {
	i.refused.WithLabelValues(via, r.reason).Inc()
	var source, id, typ string
	if e != nil {
		source, id, typ = e.Source(), e.ID(), e.Type()
	}
	level := slog.LevelWarn
	if r.reason == reasonConflict {
		level = slog.LevelError
	}
	i.logger.Log(ctx, level, "an outside event is quarantined", "input", input, "position", position, "reason", r.reason, "detail", r.detail, "source",
		source, "id", id)
	return i.inputs.Quarantine(ctx, inputs.Refused{Input: input, Position: position, Namespace: printable(namespace),
		Reason: r.reason, Detail: printable(r.detail), Source: source, ID: id, Type: typ, Body: body, Received: i.clock.Now()})
}
