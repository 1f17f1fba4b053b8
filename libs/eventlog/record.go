package eventlog

import (
	"context"

	"github.com/cloudevents/sdk-go/v2/event"
)

// Record makes facts durable: they are in the outbox when it returns, all or
// none, in order, and will be in the log. It takes facts only, of this service.
func (l *Log) Record(ctx context.Context, facts ...Fact) ([]Receipt, error) {
	return l.outbox.Record(ctx, facts...)
}

// RecordAndWait records facts and waits until the service's own fold has applied
// them. A fact that was parked, or waits behind one that was, is ErrParked.
func (l *Log) RecordAndWait(ctx context.Context, facts ...Fact) ([]Receipt, error) {
	receipts, err := l.Record(ctx, facts...)
	if err != nil {
		return nil, err
	}
	var last uint64
	ids := make([]string, len(receipts))
	for i, r := range receipts {
		last, ids[i] = max(last, r.Sequence), r.ID
	}
	for {
		applied, changed, parked := l.engine.Applied(last, ids)
		if applied {
			return receipts, parked
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return receipts, ctx.Err()
		case <-l.outbox.Stopped():
			return receipts, ErrStopped
		}
	}
}

// Rebuild folds the log from its start into tables side by side with the live ones, and
// puts them in their place: what was live serves reads until then, and the service is
// paused only while the last events are applied. Any crash or error on the way leaves
// what was live as it is.
func (l *Log) Rebuild(ctx context.Context, from Origin, progress func(Progress)) (Report, error) {
	return l.replay.Rebuild(ctx, from, progress)
}

// Verify folds the log once more, side by side with what is live, decides every event
// again, and compares: each decision with the recorded one and with the log's, and every
// table with the live one. The error says why it could not be found out; differences are
// in the report.
func (l *Log) Verify(ctx context.Context, from Origin, progress func(Progress)) (Report, error) {
	return l.replay.Verify(ctx, from, progress)
}

// Trial folds the log, as it was decided, up to a position and with it. An event
// that is given stands in the place of the one in the log that has its id: what was
// decided because of that stays. The caller closes it.
func (l *Log) Trial(ctx context.Context, until uint64, instead ...event.Event) (*Trial, error) {
	return l.replay.Trial(ctx, until, instead...)
}

// Renewing is how far the rebuild at a start is; nil where none is under way.
func (l *Log) Renewing() *Progress { return l.replay.Renewing() }

// Stream is the name of the current epoch's stream; empty before the log was found.
func (l *Log) Stream() string { return l.sessions.Stream() }

// RunWhileAttested runs work as long as the log is attested here, and once more whenever
// it is again, also in its next epoch, until the context or the work ends. It is for
// whoever reads the log side by side with the fold.
func (l *Log) RunWhileAttested(ctx context.Context, work func(ctx context.Context) error) error {
	return l.sessions.RunWhileAttested(ctx, work)
}
