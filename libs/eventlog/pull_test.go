package eventlog

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// A consumer that ends while the past is read is made anew, where it was.
func TestThePastIsReadOnWhereItsConsumerEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	const events = 3*chunkEvents + 5
	l := w.open(NewFold("quiet", 1, ""))
	run(t, l)
	facts := make([]Fact, events)
	for i := range facts {
		facts[i] = fact("quiet.told", fmt.Sprint(i), i)
	}
	_, err := l.RecordAndWait(ctx, facts...)
	require.NoError(t, err)

	k, err := l.at()
	require.NoError(t, err)
	stream, err := k.js.Stream(ctx, k.stream)
	require.NoError(t, err)
	next, ended := uint64(1), 0
	err = l.readPast(ctx, FromLog, 0, events, func(c chunk) error {
		for _, v := range c {
			require.Equal(t, next, v.stream)
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
