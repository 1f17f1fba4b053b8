// Package merkle maintains a Merkle tree over the archive's messages, signs checkpoints
// of it, and proves that a message is in it.
//
// # Guarantees
//
// The tree is a file that is computed from the archive; where it is missing or damaged,
// it is computed again. Checkpoints cannot be computed again: they are events of the
// log. The tree must agree with the newest checkpoint before the next one is signed, so
// every checkpoint continues the one before it.
//
// # How it fails
//
// ErrAltered: the archive is not what was signed. Nothing is signed or proven until it
// is. While the archive cannot be read, checkpoints wait.
package merkle

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/clock"
	"github.com/freshet-io/freshet/libs/transparency"
)

var (
	// ErrAltered: the archive is not what a checkpoint was signed over.
	ErrAltered = errors.New("the archive is not what was signed")
	// ErrShort: the archive has less than it had. What is missing comes again from the
	// log, while that has it, and is then held against what was signed.
	ErrShort = fmt.Errorf("%w: it has less than it had", ErrAltered)
	// ErrUncovered: no checkpoint commits to the message yet.
	ErrUncovered = errors.New("no checkpoint commits to it yet")
)

const (
	pollEvery  = time.Second // for what another process archived, and for the suite's clock
	retryAfter = time.Second
)

// Options of a Log.
type Options struct {
	Archive *archive.Reader
	Tree    *transparency.Tree
	Key     transparency.Key
	Clock   clock.Clock
	Logger  *slog.Logger

	Events int64         // so many messages make a checkpoint due
	Every  time.Duration // on the suite's clock; so long a message waits for a checkpoint at most
	Sign   func() bool   // whether this process is who signs; nil for always

	Archived func() uint64                                          // the last message that is known to be in the archive
	Advanced func() <-chan struct{}                                 // closed when that is more
	Newest   func(context.Context) (events.CheckpointSigned, error) // recorded; the zero one where there is none
	Record   func(context.Context, events.CheckpointSigned) error
}

// Log is the archive's tree and its checkpoints.
type Log struct {
	o       Options
	asked   chan chan struct{}
	waiting []chan struct{} // who asked for a checkpoint; Run's alone
	signs   bool            // this process did at the last turn; Run's alone
	altered atomic.Bool
	damaged atomic.Bool // the tree's file: a proof found it
	state   atomic.Pointer[error]

	mu     sync.Mutex
	newest events.CheckpointSigned
	fresh  int64     // messages that are not under it, but for checkpoints
	since  time.Time // when the first of them was seen
}

// New returns a log.
func New(o Options) *Log {
	if o.Sign == nil {
		o.Sign = func() bool { return true }
	}
	return &Log{o: o, asked: make(chan chan struct{})}
}

// Size is how many of the archive's messages are in the tree.
func (l *Log) Size() int64 { return l.o.Tree.Size() }

// Altered reports whether the archive contradicts a checkpoint, or holds something that
// was not recorded: a value that its digest does not name, or a gap.
func (l *Log) Altered() bool { return l.altered.Load() }

// Failing is why the archive cannot be followed now.
func (l *Log) Failing(ctx context.Context) error {
	if err := l.state.Load(); err != nil {
		return *err
	}
	_, err := l.o.Archive.Tail(ctx)
	return err
}

func (l *Log) now(err error) { l.state.Store(&err) }

// Public is the public key of this process' signatures.
func (l *Log) Public() string { return l.o.Key.Public() }

// Key signs what depends on a checkpoint.
func (l *Log) Key() transparency.Key { return l.o.Key }

// Newest is the newest checkpoint, the zero one where there is none.
func (l *Log) Newest() events.CheckpointSigned {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.newest
}

// Behind is how many of the archive's messages are not in the tree yet.
func (l *Log) Behind(context.Context) (int64, error) {
	return max(0, int64(l.o.Archived())-l.Size()), nil
}

// Run follows the archive until the context ends.
func (l *Log) Run(ctx context.Context) error {
	for {
		err := l.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, ErrAltered) || errors.Is(err, archive.ErrForeign) || errors.Is(err, archive.ErrMissing) {
			l.altered.Store(true) // until it was followed again: one that is unavailable now is no better
		}
		l.now(err)
		l.o.Logger.Error("following the archive failed and is tried again", "error", err, "again_in", retryAfter)
		select {
		case <-time.After(retryAfter):
		case <-ctx.Done():
			return nil
		}
	}
}

func (l *Log) session(ctx context.Context) error {
	l.signs = l.o.Sign()
	if err := l.resume(ctx); err != nil {
		return err
	}
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		if l.damaged.CompareAndSwap(true, false) {
			return errors.Join(transparency.ErrDamaged, l.o.Tree.Truncate(0))
		}
		advanced := l.o.Advanced()
		if err := l.follow(ctx, 0); err != nil {
			return err
		}
		if err := l.others(ctx); err != nil {
			return err
		}
		l.altered.Store(false)
		if was := l.state.Load(); was != nil && errors.Is(*was, ErrShort) {
			l.o.Logger.Warn("the archive has again what it had, and is what was signed", "ends_at", l.Size())
		}
		l.now(nil)
		if err := l.sign(ctx, len(l.waiting) > 0); err != nil {
			return err
		}
		for _, signed := range l.waiting {
			close(signed)
		}
		l.waiting = nil
		select {
		case <-advanced:
		case signed := <-l.asked:
			l.waiting = append(l.waiting, signed)
		case <-poll.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// others takes the newest checkpoint from who signs, where this process does not. One that
// begins to sign begins from there, so that it is known what is new.
func (l *Log) others(ctx context.Context) error {
	did := l.signs
	if l.signs = l.o.Sign(); l.signs && did {
		return nil
	}
	if !l.signs {
		newest, err := l.o.Newest(ctx)
		if err != nil || newest.Size <= l.Newest().Size || newest.Size > l.Size() {
			return err
		}
		if root, err := l.o.Tree.Root(newest.Size); err == nil && digest(root) == newest.Root {
			l.mu.Lock()
			l.newest = newest
			l.mu.Unlock()
			return nil
		}
	}
	if err := l.resume(ctx); err != nil { // which tells a damaged tree from an altered archive
		return err
	}
	return l.follow(ctx, 0)
}

// resume brings the tree to where the newest checkpoint was signed and compares.
// What came after it is read again, so that it is known what is new.
func (l *Log) resume(ctx context.Context) error {
	newest, err := l.o.Newest(ctx)
	if err != nil {
		return err
	}
	agrees := func() (bool, error) {
		if newest.Size == 0 {
			return true, nil
		}
		root, err := l.o.Tree.Root(newest.Size)
		return err == nil && digest(root) == newest.Root, err
	}
	ok := false
	if l.o.Tree.Size() >= newest.Size {
		ok, err = agrees()
	}
	if !ok || err != nil { // the file is behind, damaged, or another archive's
		if l.o.Tree.Size() > newest.Size || err != nil {
			if err := l.o.Tree.Truncate(0); err != nil {
				return err
			}
		}
		if err := l.follow(ctx, newest.Size); err != nil {
			return err
		}
		if ok, err = agrees(); !ok && err == nil { // so was the part that it had
			if err := l.o.Tree.Truncate(0); err != nil {
				return err
			}
			if err := l.follow(ctx, newest.Size); err != nil {
				return err
			}
			ok, err = agrees()
		}
		if err != nil {
			return err
		}
	}
	if !ok {
		return fmt.Errorf("%w: over the first %d messages", ErrAltered, newest.Size)
	}
	if err := l.o.Tree.Truncate(newest.Size); err != nil {
		return err
	}
	if key := l.o.Key.Public(); newest.Size > 0 && newest.Key != key {
		l.o.Logger.Warn("the signing key is not the one that signed so far: put that one back, or give both to those who verify",
			"key", key, "signed_so_far_by", newest.Key)
	}
	l.mu.Lock()
	l.newest, l.fresh, l.since = newest, 0, time.Time{}
	l.mu.Unlock()
	return nil
}

// follow appends what the archive has, up to a size where one is given.
func (l *Log) follow(ctx context.Context, until int64) error {
	tail, err := l.o.Archive.Tail(ctx)
	if err != nil {
		return err
	}
	end := int64(tail.Sequence)
	if had := max(until, l.o.Tree.Size()); end < had {
		short := fmt.Errorf("%w: it ends at %d, and had %d messages, which are copied again while the log has them", ErrShort, end, had)
		return errors.Join(short, l.o.Tree.Truncate(min(end, l.o.Tree.Size())))
	}
	if until > 0 {
		end = until
	}
	if end <= l.o.Tree.Size() {
		return nil
	}
	return l.o.Archive.Read(ctx, uint64(l.o.Tree.Size())+1, uint64(end), func(batch []archive.Record) error {
		data, fresh := make([][]byte, len(batch)), int64(0)
		for i, r := range batch {
			data[i] = r.Data
			if !isCheckpoint(r.Data) {
				fresh++
			}
		}
		if err := l.o.Tree.Append(data...); err != nil {
			return err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.fresh == 0 && fresh > 0 {
			l.since = l.o.Clock.Now()
		}
		l.fresh += fresh
		return nil
	})
}

// isCheckpoint reads an event's type: a checkpoint alone makes no other one due.
func isCheckpoint(data []byte) bool {
	head, _, _ := bytes.Cut(data, []byte(`,"data":`))
	return bytes.Contains(head, []byte(`,"type":"`+events.TypeCheckpointSigned+`"`))
}

// sign signs and records a checkpoint where one is due.
func (l *Log) sign(ctx context.Context, asked bool) error {
	l.mu.Lock()
	fresh, since := l.fresh, l.since
	l.mu.Unlock()
	due := asked || fresh >= l.o.Events || !l.o.Clock.Now().Before(since.Add(l.o.Every))
	if fresh == 0 || !due || !l.signs || !l.o.Sign() {
		return nil
	}
	size := l.o.Tree.Size()
	root, err := l.o.Tree.Root(size)
	if err != nil {
		return err
	}
	note, err := l.o.Key.Checkpoint(size, root)
	if err != nil {
		return err
	}
	c := events.CheckpointSigned{Size: size, Root: digest(root), Note: note, Key: l.o.Key.Public()}
	if err := l.o.Record(ctx, c); err != nil {
		return fmt.Errorf("recording a checkpoint: %w", err)
	}
	l.mu.Lock()
	l.newest, l.fresh, l.since = c, 0, time.Time{}
	l.mu.Unlock()
	return nil
}

// Checkpoint asks for a checkpoint over everything the archive has, and returns the
// newest one: an older one where nothing but checkpoints came since, or where another
// process signs.
func (l *Log) Checkpoint(ctx context.Context) (events.CheckpointSigned, error) {
	signed := make(chan struct{})
	select {
	case l.asked <- signed:
	case <-ctx.Done():
		return events.CheckpointSigned{}, ctx.Err()
	}
	select {
	case <-signed:
	case <-ctx.Done():
		return events.CheckpointSigned{}, ctx.Err()
	}
	return l.Newest(), nil
}

// Await waits until a message is in the tree.
func (l *Log) Await(ctx context.Context, sequence int64) error {
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for l.Size() < sequence {
		select {
		case <-poll.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Prove returns the hashes from a message to a checkpoint's root: nothing while the
// archive is altered, and nothing where a message with these bytes was not signed.
func (l *Log) Prove(sequence int64, data []byte, c events.CheckpointSigned) ([]transparency.Hash, error) {
	if l.Altered() {
		return nil, ErrAltered
	}
	if sequence > c.Size {
		return nil, fmt.Errorf("%w: it is message %d, and the newest checkpoint is over %d", ErrUncovered, sequence, c.Size)
	}
	hashes, err := l.o.Tree.Prove(sequence-1, c.Size)
	if errors.Is(err, transparency.ErrDamaged) {
		l.damaged.Store(true)
	}
	if err != nil {
		return nil, err
	}
	leaf, err := l.o.Tree.Leaf(sequence - 1)
	if err == nil && leaf != transparency.HashOf(data) {
		err = fmt.Errorf("%w: message %d has other bytes now", ErrAltered, sequence)
	}
	return hashes, err
}

// ProveGrowth returns the hashes from one checkpoint's root to a newer one's.
func (l *Log) ProveGrowth(old, size int64) ([]transparency.Hash, error) {
	if l.Altered() {
		return nil, ErrAltered
	}
	return l.o.Tree.ProveGrowth(old, size)
}

func digest(root transparency.Hash) string { return "sha256:" + hex.EncodeToString(root[:]) }
