// Package effect is deployment's slow work: loading a version, so that traffic
// only ever reaches one that answers.
package effect

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/freshet-io/freshet/libs/onnx"
	"github.com/freshet-io/freshet/services/deployment/internal/serving"
	"github.com/freshet-io/freshet/services/deployment/internal/state"
)

const (
	loadTimeout  = 2 * time.Minute
	loadAttempts = 3
)

// Load is the handler that loads a version. It ends with replica_ready, or with
// replica_failed and the reason.
func Load(cache *serving.Cache) eventlog.Handler {
	return eventlog.Handler{
		Kind: state.LoadKind, Timeout: loadTimeout, Attempts: loadAttempts, Concurrency: 2,
		Run: func(ctx context.Context, run *eventlog.Run) (event.Event, error) {
			var args state.LoadArgs
			if err := run.Decode(&args); err != nil {
				return event.Event{}, eventlog.Permanent(err)
			}
			began := time.Now()
			if _, err := cache.Load(ctx, args.Artifact, args.Columns); err != nil {
				if !errors.Is(err, serving.ErrObject) { // the bytes will not get better
					err = eventlog.Permanent(err)
				}
				return event.Event{}, err
			}
			return events.NewReplicaReady(run.Namespace, args.Rollout, events.ReplicaReady{
				Rollout: args.Rollout, Model: args.Model, Environment: args.Environment, Version: args.Version,
				LoadMS: float64(time.Since(began).Microseconds()) / 1000,
			})
		},
		Failed: func(_ context.Context, run *eventlog.Run, err error) (event.Event, error) {
			var args state.LoadArgs
			if err := run.Decode(&args); err != nil {
				return event.Event{}, err
			}
			return events.NewReplicaFailed(run.Namespace, args.Rollout, events.ReplicaFailed{
				Rollout: args.Rollout, Model: args.Model, Environment: args.Environment, Version: args.Version,
				Reason: reason(err), Detail: detail(err),
			})
		},
	}
}

func reason(err error) string {
	var unsupported *onnx.UnsupportedOperatorError
	switch {
	case errors.As(err, &unsupported):
		return "unsupported_operator"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, serving.ErrObject):
		return "object_missing"
	case errors.Is(err, serving.ErrSignature), errors.Is(err, onnx.ErrShape):
		return "signature"
	}
	return "bad_model"
}

// detail is the error as an event may carry it.
func detail(err error) string {
	s := strings.ReplaceAll(strings.ToValidUTF8(err.Error(), "?"), "\x00", "")
	if len(s) > 1000 {
		s = strings.ToValidUTF8(s[:1000], "")
	}
	return s
}
