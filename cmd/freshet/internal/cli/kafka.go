package cli

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/freshet-io/freshet/libs/archive"
	"github.com/freshet-io/freshet/libs/kafka"
	kgo "github.com/segmentio/kafka-go"
	"github.com/spf13/cobra"
)

func kafkaFlag(cmd *cobra.Command, addr *string) {
	cmd.Flags().StringVar(addr, "kafka", fromEnv("FRESHET_KAFKA", ""), "address of Kafka (freshet up prints it)")
	complete(cmd, "kafka", nothing)
}

func kafkaClient(addr string) (*kafka.Client, error) {
	if addr == "" {
		return nil, usagef("name Kafka's address with --kafka or FRESHET_KAFKA: freshet up prints it")
	}
	return kafka.New(strings.Split(addr, ",")...), nil
}

// kafkaAway says what to do where no Kafka answers, or another one than a suite's.
func kafkaAway(addr string, err error) error {
	var network net.Error
	switch {
	case errors.Is(err, kgo.UnknownTopicOrPartition):
		return fmt.Errorf("the Kafka at %s has no topic %s: name a suite's with --kafka (freshet up prints it)", addr, archive.Topic)
	case errors.As(err, &network), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf("no Kafka answers at %s: start the suite, or name its Kafka with --kafka (freshet up prints it): %w", addr, err)
	}
	return err
}
