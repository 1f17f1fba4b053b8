package copier_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/kafka"
	"github.com/freshet-io/freshet/libs/testkit"
	"github.com/freshet-io/freshet/libs/testkit/brokers"
	"github.com/freshet-io/freshet/services/audit/internal/log/copier"
	kgo "github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
)

// The archive on the broker that a suite embeds.
func TestPromise06TheArchiveOnTheEmbeddedBroker(t *testing.T) {
	t.Parallel()
	conformance(t, brokers.Embedded(t))
}

// The archive on Apache Kafka.
func TestPromise06TheArchiveOnApacheKafka(t *testing.T) {
	t.Parallel()
	conformance(t, brokers.Apache(t))
}

// conformance is what a broker has to do for the archive to be exact. One broker
// serves all of it, one part after the other, each with a topic and a log of its own.
func conformance(t *testing.T, broker *brokers.Broker) {
	part := func(name string, test func(t *testing.T, b *bundle)) {
		t.Run(name, func(t *testing.T) {
			b := logOf(t)
			b.addr = broker.Addr()
			forget(t, b.addr)
			test(t, b)
		})
	}

	part("the archive is the log", func(t *testing.T, b *bundle) {
		b.publish(700)
		c, _ := b.copy()
		b.publish(300)
		b.awaitCopied(c)
		b.requireCopy()
	})

	part("the copier is killed", func(_ *testing.T, b *bundle) {
		b.publish(300)
		for range testkit.Figure(5, 100) {
			c, stop := b.copy()
			b.publish(1 + rand.IntN(60))
			if rand.IntN(2) == 0 {
				b.awaitCopied(c)
			}
			stop()
		}
		c, _ := b.copy()
		b.awaitCopied(c)
		b.requireCopy()
	})

	part("answers are lost", func(t *testing.T, b *bundle) {
		before := broker.Lost()
		b.publish(600)
		for round := range testkit.Figure(3, 50) {
			broker.LoseAnswers(1 + round%2)
			c, stop := b.copy()
			b.publish(100)
			b.awaitCopied(c)
			stop()
		}
		broker.LoseAnswers(0)
		require.Greater(t, broker.Lost(), before, "some answers were lost")
		b.requireCopy()
	})

	part("the broker is killed", func(t *testing.T, b *bundle) {
		c, _ := b.copy()
		for round := range testkit.Figure(2, 20) {
			b.publish(200)
			if round%2 == 1 { // in the middle of a copy, else at its end
				require.Eventually(t, func() bool { n, err := c.Behind(t.Context()); return err == nil && n < 150 }, time.Minute, time.Millisecond)
			} else {
				b.awaitCopied(c)
			}
			broker.Kill()
			b.publish(200)
			broker.Start()
			b.awaitCopied(c)
		}
		b.requireCopy()
	})

	part("a topic that cannot hold the log is refused", func(t *testing.T, b *bundle) {
		client := kafka.New(b.addr)
		defer client.Close()
		require.NoError(t, copier.Check(t.Context(), client), "none is there")
		require.NoError(t, client.Ensure(t.Context(), archive.Topic, 1))
		require.NoError(t, copier.Check(t.Context(), client), "as the client makes it")
		for setting, value := range map[string]string{"retention.ms": "604800000", "retention.bytes": "1000", "cleanup.policy": "compact"} {
			set(t, b.addr, setting, value)
			var err error
			require.Eventually(t, func() bool { // a broker learns of it a moment later
				err = copier.Check(t.Context(), client)
				return errors.Is(err, copier.ErrTopic)
			}, time.Minute, 10*time.Millisecond)
			require.ErrorContains(t, err, setting+" is "+value)
			require.ErrorContains(t, err, "kafka-configs.sh")
			set(t, b.addr, setting, map[string]string{"cleanup.policy": "delete"}[setting])
			require.Eventually(t, func() bool { return copier.Check(t.Context(), client) == nil }, time.Minute, 10*time.Millisecond)
		}

		forget(t, b.addr)
		three := kafka.New(b.addr)
		defer three.Close()
		require.NoError(t, three.Ensure(t.Context(), archive.Topic, 3))
		err := copier.Check(t.Context(), three)
		require.ErrorIs(t, err, copier.ErrTopic)
		require.ErrorContains(t, err, "3 partitions")
		b.publish(1)
		c, _ := b.copy()
		refused := func() bool { return errors.Is(c.Failing(t.Context()), copier.ErrTopic) }
		require.Eventually(t, refused, time.Minute, 10*time.Millisecond, "it says how to mend the topic")
		require.Zero(t, c.Archived(), "nothing is copied into it")
		forget(t, b.addr)
		b.awaitCopied(c) // into the one that it makes
		b.requireCopy()
	})
}

// set changes a setting of the archive's topic; an empty value means no limit.
func set(t *testing.T, addr, name, value string) {
	t.Helper()
	if value == "" {
		value = "-1"
	}
	client := &kgo.Client{Addr: kgo.TCP(addr)}
	res, err := client.IncrementalAlterConfigs(t.Context(), &kgo.IncrementalAlterConfigsRequest{Resources: []kgo.IncrementalAlterConfigsRequestResource{{
		ResourceType: kgo.ResourceTypeTopic, ResourceName: archive.Topic,
		Configs: []kgo.IncrementalAlterConfigsRequestConfig{{Name: name, Value: value, ConfigOperation: kgo.ConfigOperationSet}},
	}}})
	require.NoError(t, err)
	for _, r := range res.Resources {
		require.NoError(t, r.Error)
	}
}

// forget deletes the archive's topic and waits until it is gone.
func forget(t *testing.T, addr string) {
	t.Helper()
	client := &kgo.Client{Addr: kgo.TCP(addr), Timeout: 5 * time.Second, Transport: &kgo.Transport{MetadataTTL: time.Millisecond}}
	var last error
	require.Eventually(t, func() bool {
		m, err := client.Metadata(t.Context(), &kgo.MetadataRequest{})
		if err != nil {
			last = err
			return false
		}
		for _, topic := range m.Topics {
			if topic.Name == archive.Topic {
				_, last = client.DeleteTopics(t.Context(), &kgo.DeleteTopicsRequest{Topics: []string{archive.Topic}})
				return false
			}
		}
		return true
	}, time.Minute, 20*time.Millisecond, fmt.Sprint(last))
}
