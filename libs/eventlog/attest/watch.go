package attest

import (
	"context"
	"errors"
	"time"
)

// lookEvery is how often a reader is held against the end of its stream.
const lookEvery = 5 * time.Second

// ErrSilent: a reader waited for what its stream has, and got nothing.
var ErrSilent = errors.New("the consumer fell silent")

// Watch ends a reader that its consumer leaves waiting: one may fall silent without an
// error. Look says up to where the reader has its stream, and where that ends; the same
// number twice if the reader does not wait. Where look fails, nothing is known. A reader
// that two looks find at the same place, both with more to come, is ended with ErrSilent.
func Watch(ctx context.Context, end context.CancelCauseFunc, look func(context.Context) (read, last uint64, err error)) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	waits, at := false, uint64(0) // as the last look found it
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		read, last, err := look(ctx)
		if err != nil {
			continue
		}
		if waits && read == at && last > read {
			end(ErrSilent)
			return
		}
		waits, at = last > read, read
	}
}
