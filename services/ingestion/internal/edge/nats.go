package edge

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// InStream holds what outside producers publish to freshet-in.<namespace>.<anything>.
const InStream = "FRESHET_IN"

const inputNATS = "nats:" + InStream

// FromNATS reads the outside stream, in order, from the position that is kept
// beside the state. A message is recorded or quarantined before the position
// moves; after a crash the last one comes again and is found to be taken.
type FromNATS struct {
	intake *Intake
	conn   *nats.Conn
}

// NewFromNATS returns the reader of the outside stream.
func NewFromNATS(i *Intake, conn *nats.Conn) *FromNATS { return &FromNATS{intake: i, conn: conn} }

func (f *FromNATS) stream(ctx context.Context) (jetstream.Stream, error) {
	js, err := jetstream.New(f.conn)
	if err != nil {
		return nil, err
	}
	s, err := js.Stream(ctx, InStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) { // with the limits that `freshet up` gives it
		return js.CreateStream(ctx, jetstream.StreamConfig{Name: InStream, Subjects: []string{"freshet-in.>"}, Storage: jetstream.FileStorage,
			Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, MaxAge: 7 * 24 * time.Hour, MaxBytes: 8 << 30, MaxMsgSize: 128 << 10})
	}
	return s, err
}

// Run reads until ctx ends.
func (f *FromNATS) Run(ctx context.Context) error {
	s, err := f.stream(ctx)
	if err != nil {
		return fmt.Errorf("the stream %s: %w", InStream, err)
	}
	position, err := f.intake.position(ctx, inputNATS)
	if err != nil {
		return err
	}
	from := uint64(max(position, 0)) + 1
	if info := s.CachedInfo(); position > 0 && info.State.FirstSeq > from {
		f.intake.logger.Error("outside events were deleted before they were read", "stream", InStream, "from", from, "to", info.State.FirstSeq-1)
	} else if uint64(max(position, 0)) > info.State.LastSeq {
		return fmt.Errorf("the stream %s ends at %d, before %d which was read already: it is another stream", InStream, info.State.LastSeq, position)
	}
	c, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from})
	if err != nil {
		return err
	}
	messages, err := c.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	defer context.AfterFunc(ctx, messages.Stop)()
	for {
		m, err := messages.Next()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if err := f.take(ctx, m, meta.Sequence.Stream); err != nil {
			return err
		}
		if err := f.intake.moved(ctx, inputNATS, int64(meta.Sequence.Stream)); err != nil {
			return err
		}
	}
}

func (f *FromNATS) take(ctx context.Context, m jetstream.Msg, sequence uint64) error {
	i := f.intake
	namespace := ""
	if tokens := strings.SplitN(m.Subject(), ".", 3); len(tokens) > 1 {
		namespace = decodeToken(tokens[1])
	}
	var no *refusal
	e, err := events.DecodeNATS(m.Headers(), m.Data())
	if err != nil {
		errors.As(refusedEvent(err), &no)
		return i.quarantine(ctx, inputNATS, "nats", strconv.FormatUint(sequence, 10), namespace, nil, m.Data(), no)
	}
	_, err = i.arrive(ctx, "nats", namespace, e)
	if errors.As(err, &no) {
		return i.quarantine(ctx, inputNATS, "nats", strconv.FormatUint(sequence, 10), namespace, &e, m.Data(), no)
	}
	return err
}

// decodeToken undoes the encoding of names in subjects (=XX); what is not encoded
// as we do it stays as it is and is then refused as a name.
func decodeToken(s string) string {
	if !strings.Contains(s, "=") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '=' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// Behind is how many messages wait.
func (f *FromNATS) Behind(ctx context.Context) (int64, error) {
	s, err := f.stream(ctx)
	if err != nil {
		return 0, err
	}
	position, err := f.intake.position(ctx, inputNATS)
	if err != nil {
		return 0, err
	}
	return max(int64(s.CachedInfo().State.LastSeq)-max(position, 0), 0), nil
}
