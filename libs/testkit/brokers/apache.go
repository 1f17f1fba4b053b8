package brokers

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/freshet-io/freshet/libs/testkit/apachekafka"
)

const startTimeout = 3 * time.Minute // a few seconds where the machine has time

// Apache starts an Apache Kafka: one broker, which is its own controller.
func Apache(t testing.TB) *Broker {
	t.Helper()
	install := installed(t)
	controller, err := freeAddr()
	if err != nil {
		t.Fatalf("Apache Kafka: %v", err)
	}
	dir := t.TempDir()
	return newBroker(t, func(target, advertised string) (func(), error) {
		return startApache(apachekafka.Broker{Install: install, Dir: dir, Listen: target, Advertise: advertised, Controller: controller})
	})
}

// ConsoleConsumer returns a directory with kafka-console-consumer.sh, as Apache Kafka's
// own bin has it.
func ConsoleConsumer(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	script := installed(t).Script("org.apache.kafka.tools.consumer.ConsoleConsumer")
	if err := os.WriteFile(filepath.Join(dir, "kafka-console-consumer.sh"), []byte(script), 0o755); err != nil {
		t.Fatalf("Apache Kafka's console consumer: %v", err)
	}
	return dir
}

func installed(t testing.TB) apachekafka.Install {
	t.Helper()
	install, err := apachekafka.Find()
	if err != nil {
		unavailable(t, "%v", err)
	}
	return install
}

// startApache starts a broker again and again on the same data.
func startApache(b apachekafka.Broker) (kill func(), err error) {
	if err := b.Prepare(); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	cmd := b.Command()
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	kill = func() {
		_ = cmd.Process.Kill() // it may have ended
		<-ended                //nolint:errcheck // it was killed
	}
	deadline := time.NewTimer(startTimeout)
	defer deadline.Stop()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		conn, err := net.DialTimeout("tcp", b.Listen, time.Second)
		if err == nil {
			return kill, conn.Close()
		}
		select {
		case err := <-ended:
			return nil, fmt.Errorf("it ended: %w\n%s", err, apachekafka.LastLines(out.Bytes()))
		case <-deadline.C:
			kill()
			return nil, fmt.Errorf("it did not listen within %s\n%s", startTimeout, apachekafka.LastLines(out.Bytes()))
		case <-poll.C:
		}
	}
}
