package copier

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/freshet-io/freshet/libs/archive"
	kgo "github.com/segmentio/kafka-go"
)

// ErrTopic: the topic cannot hold the log, as it is.
var ErrTopic = errors.New("the topic " + archive.Topic + " cannot be the log's archive")

// Check tells whether the topic, where it is there, can hold the log: in one order,
// and for ever. Only ErrTopic says that it cannot; any other error, that it could not
// be asked.
func Check(ctx context.Context, client Kafka) error {
	n, err := client.Partitions(ctx, archive.Topic)
	if errors.Is(err, kgo.UnknownTopicOrPartition) {
		return nil // it will be made as it has to be
	}
	if err != nil {
		return err
	}
	if n != 1 {
		return fmt.Errorf("%w: it has %d partitions, and only one keeps the log's order. "+
			"Copy it in the order of the header %s into a topic of one partition, give that the name, and start audit again; "+
			"where it is empty, delete it: audit makes it", ErrTopic, n, archive.HeaderSequence)
	}
	settings, err := client.Settings(ctx, archive.Topic, "retention.ms", "retention.bytes", "cleanup.policy")
	if errors.Is(err, kgo.TopicAuthorizationFailed) || errors.Is(err, kgo.ClusterAuthorizationFailed) {
		return nil // the broker keeps it to itself
	}
	if err != nil {
		return err
	}
	var wrong, right []string
	for _, need := range [][2]string{{"retention.ms", "-1"}, {"retention.bytes", "-1"}, {"cleanup.policy", "delete"}} {
		if has, told := settings[need[0]]; told && has != need[1] {
			wrong = append(wrong, need[0]+" is "+has)
			right = append(right, need[0]+"="+need[1])
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%w: the broker would delete of it, for %s. Set it: kafka-configs.sh --bootstrap-server … --alter --entity-type topics "+
			"--entity-name %s --add-config %s",
			ErrTopic, strings.Join(wrong, " and "), archive.Topic, strings.Join(right, ","))
	}
	return nil
}
