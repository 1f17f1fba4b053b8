package copier_test

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The copier is killed again and again while the broker stores batches and loses its
// answers, refuses them for want of replicas, or cuts the connection: the archive is
// the log, in its order, nothing twice.
func TestPromise06TheArchiveIsTheLog(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var lost, short, cut atomic.Int64
	b.cluster.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.KeepControl()
		switch rand.IntN(8) {
		case 0:
			lost.Add(1)
			b.lose.Store(true)
		case 1:
			short.Add(1)
			return withoutReplicas(r), nil, true
		case 2:
			cut.Add(1)
			return nil, errors.New("the connection is cut"), true
		}
		return nil, nil, false // served as ever
	})
	for range testkit.Figure(15, 500) {
		c, stop := b.copy()
		b.publish(1 + rand.IntN(40))
		if rand.IntN(3) == 0 {
			b.awaitCopied(c)
		}
		stop()
	}
	c, _ := b.copy()
	b.publish(1)
	b.awaitCopied(c)
	b.requireCopy()
	require.NotZero(t, lost.Load()+short.Load()+cut.Load())
}

// withoutReplicas answers that too few replicas are in sync: nothing was stored.
func withoutReplicas(r kmsg.Request) kmsg.Response {
	req, ok := r.(*kmsg.ProduceRequest)
	if !ok {
		return nil
	}
	res, ok := req.ResponseKind().(*kmsg.ProduceResponse)
	if !ok {
		return nil
	}
	for _, topic := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
		for _, p := range topic.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, kerr.NotEnoughReplicas.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		res.Topics = append(res.Topics, rt)
	}
	return res
}
