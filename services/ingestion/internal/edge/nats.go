package edge

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/eventlog/attest"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

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
	if errors.Is(err, jetstream.ErrStreamNotFound) { // with little room, which every server has; its operator gives it more
		if err := makeSource(ctx, js); err != nil {
			return nil, err
		}
		return js.CreateStream(ctx, streamConfig(1<<30))
	}
	if err == nil && s.CachedInfo().Config.Duplicates > 0 {
		f.intake.logger.Warn("the stream of outside events keeps only one of two messages with the same Nats-Msg-Id; give it a source, such as an empty stream",
			"stream", InStream, "window", s.CachedInfo().Config.Duplicates.String())
	}
	return s, err
}

// errOtherServer: another server process has the stream now, maybe an older copy of
// it, or the stream is another one.
var errOtherServer = errors.New("the stream may be another one now")

// Run reads until ctx ends.
func (f *FromNATS) Run(ctx context.Context) error {
	for {
		err := f.read(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, errOtherServer) && !errors.Is(err, attest.ErrSilent) {
			return err
		}
	}
}

func (f *FromNATS) read(ctx context.Context) error {
	server := attest.Server(f.conn)
	s, err := f.stream(ctx)
	if err != nil {
		return fmt.Errorf("the stream %s: %w", InStream, err)
	}
	from, err := f.from(ctx, s)
	if err != nil {
		return err
	}
	c, err := s.OrderedConsumer(ctx, attest.ReadFrom(from))
	if err != nil {
		return err
	}
	messages, err := c.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	var read atomic.Uint64 // up to here
	read.Store(from - 1)
	watching, end := context.WithCancelCause(ctx)
	defer end(nil)
	go f.watch(watching, end, s, &read)
	var waits atomic.Bool
	go attest.Watch(watching, end, func(ctx context.Context) (at, last uint64, err error) {
		info, err := s.Info(ctx)
		if err != nil {
			return 0, 0, err
		}
		last = info.State.LastSeq
		if at = read.Load(); !waits.Load() || info.State.Msgs == 0 {
			at = last
		}
		return at, last, nil
	})
	defer context.AfterFunc(watching, messages.Stop)()
	for {
		waits.Store(true)
		m, err := messages.Next()
		waits.Store(false)
		if cause := context.Cause(watching); cause != nil {
			return cause
		}
		if now := attest.Server(f.conn); now != "" && now != server {
			return errOtherServer
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
		if err := f.intake.inputs.Set(ctx, inputNATS, int64(meta.Sequence.Stream), inputMark, meta.Timestamp.UnixNano()); err != nil {
			return err
		}
		read.Store(meta.Sequence.Stream)
	}
}

// watch ends a reader whose server is another process now, or whose stream is
// another one or shorter than what was read.
func (f *FromNATS) watch(ctx context.Context, end context.CancelCauseFunc, s jetstream.Stream, read *atomic.Uint64) {
	server, created := attest.Server(f.conn), s.CachedInfo().Created
	tick := time.NewTicker(watchServer)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if now := attest.Server(f.conn); now != "" && now != server {
			end(errOtherServer)
		}
		if n%watchStream != 0 {
			continue
		}
		before := read.Load()
		if info, err := s.Info(ctx); err == nil && (!info.Created.Equal(created) || info.State.LastSeq < before) {
			end(errOtherServer)
		}
	}
}

const (
	watchServer = 200 * time.Millisecond
	watchStream = 10 // times as rarely
)

// inputMark keeps when the last message that was read had been stored, in
// nanoseconds: whether the stream's message in its place is the same one.
const inputMark = inputNATS + ":stored"

// from is where to continue. A stream that is not the one that was read, because an
// older copy of its store came back, is read from its first message: what was taken
// before is found to be.
func (f *FromNATS) from(ctx context.Context, s jetstream.Stream) (uint64, error) {
	position, err := f.intake.inputs.Position(ctx, inputNATS)
	if err != nil || position <= 0 {
		return 1, err
	}
	mark, err := f.intake.inputs.Position(ctx, inputMark)
	if err != nil {
		return 0, err
	}
	read, state := uint64(position), s.CachedInfo().State
	if state.FirstSeq > read+1 {
		f.intake.logger.Error("outside events were deleted before they were read", "stream", InStream, "from", read+1, "to", state.FirstSeq-1)
	}
	if state.FirstSeq > read && state.LastSeq >= read {
		return read + 1, nil
	}
	m, err := s.GetMsg(ctx, read)
	switch {
	case err == nil && (mark <= 0 || m.Time.UnixNano() == mark):
		return read + 1, nil
	case err != nil && !errors.Is(err, jetstream.ErrMsgNotFound):
		return 0, fmt.Errorf("the stream %s at %d: %w", InStream, read, err)
	}
	f.intake.logger.Error("the stream for outside events is not the one that was read; it is read from its first message again", "stream", InStream,
		"read", read, "last", state.LastSeq)
	return 1, f.intake.inputs.Forget(ctx, inputNATS, inputMark)
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
	position, err := f.intake.inputs.Position(ctx, inputNATS)
	if err != nil {
		return 0, err
	}
	state := s.CachedInfo().State
	if last := int64(state.LastSeq); last >= position {
		return last - max(position, 0), nil
	}
	return int64(state.Msgs), nil // an older copy, which is read from its beginning
}
