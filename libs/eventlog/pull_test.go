package eventlog

import (
	"context"
	"fmt"
	"testing"

	"github.com/freshet-io/freshet/libs/eventlog/internal/source"
	"github.com/stretchr/testify/require"
)

// A consumer that ends while the past is read is made again, where it was.
func TestThePastIsReadOnWhereItsConsumerEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	const events = 3*source.ChunkEvents + 5
	l := w.open(NewFold("quiet", 1, ""))
	run(t, l)
	facts := make([]Fact, events)
	for i := range facts {
		facts[i] = fact("quiet.told", fmt.Sprint(i), i)
	}
	_, err := l.RecordAndWait(ctx, facts...)
	require.NoError(t, err)

	k, err := l.sessions.Current()
	require.NoError(t, err)
	stream, err := k.JS.Stream(ctx, k.Stream)
	require.NoError(t, err)
	next, ended := uint64(1), 0
	err = l.source.Past(ctx, k, FromLog, 0, events, func(c source.Chunk) error {
		for _, v := range c {
			require.Equal(t, next, v.Stream)
			next++
		}
		for name := range stream.ConsumerNames(ctx).Name() { // the live reader's too
			if err := stream.DeleteConsumer(ctx, name); err == nil {
				ended++
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.EqualValues(t, events+1, next)
	require.NotZero(t, ended)
}
