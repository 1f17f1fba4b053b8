package brokers

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// version of Apache Kafka; pom.xml names it again.
const version = "4.1.0"

const (
	fetchTimeout = 5 * time.Minute
	startTimeout = 3 * time.Minute // a few seconds where the machine has time
	oldestJava   = 17
)

//go:embed pom.xml
var pom []byte

// Apache starts an Apache Kafka: one broker, which is its own controller.
func Apache(t testing.TB) *Broker {
	t.Helper()
	java, jars := distribution(t)
	dir := t.TempDir()
	controller, err := freeAddr()
	if err != nil {
		t.Fatalf("Apache Kafka: %v", err)
	}
	k := &apache{java: java, jars: jars, dir: dir, controller: controller}
	return newBroker(t, k.start)
}

// ConsoleConsumer returns a directory with kafka-console-consumer.sh, as Apache Kafka's
// own bin has it.
func ConsoleConsumer(t testing.TB) string {
	t.Helper()
	java, jars := distribution(t)
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nexec '%s' -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn "+
		"-cp '%s/*' org.apache.kafka.tools.consumer.ConsoleConsumer \"$@\"\n", java, jars)
	if err := os.WriteFile(filepath.Join(dir, "kafka-console-consumer.sh"), []byte(script), 0o755); err != nil {
		t.Fatalf("Apache Kafka's console consumer: %v", err)
	}
	return dir
}

// distribution returns a Java and the directory of Kafka's jars.
func distribution(t testing.TB) (java, jars string) {
	t.Helper()
	java, err := exec.LookPath("java")
	if err != nil {
		unavailable(t, "java is not installed; version %d or later is needed", oldestJava)
	}
	if v, err := javaVersion(java); err != nil || v < oldestJava {
		unavailable(t, "java is version %d (%v); %d or later is needed", v, err, oldestJava)
	}
	if jars, err = fetch(); err != nil {
		unavailable(t, "%v", err)
	}
	return java, jars
}

func javaVersion(java string) (int, error) {
	out, err := exec.Command(java, "-version").CombinedOutput()
	if err != nil {
		return 0, err
	}
	_, text, _ := strings.Cut(string(out), `version "`)
	major, _, _ := strings.Cut(text, ".")
	major, _, _ = strings.Cut(major, `"`)
	return strconv.Atoi(major)
}

// fetch returns the directory of Kafka's jars, and has Maven fill it the first time.
// Test processes that need it at once wait for each other.
func fetch() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(pom) // what is fetched follows from it
	jars := filepath.Join(cache, "freshet", "apache-kafka-"+version+"-"+hex.EncodeToString(sum[:4]))
	if err := os.MkdirAll(filepath.Dir(jars), 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(jars+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close() //nolint:errcheck // its end frees the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Stat(jars); err == nil {
		return jars, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	maven, err := exec.LookPath("mvn")
	if err != nil {
		return "", errors.New("Maven (mvn), which fetches it, is not installed") //nolint:revive,staticcheck // its name
	}
	work, err := os.MkdirTemp(filepath.Dir(jars), ".fetch-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work) //nolint:errcheck // a cache
	if err := os.WriteFile(filepath.Join(work, "pom.xml"), pom, 0o644); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, maven, "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=jars", "-DincludeScope=runtime")
	cmd.Dir = work
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("fetching Apache Kafka from Maven Central: %w\n%s", err, lastLines(out))
	}
	return jars, os.Rename(filepath.Join(work, "jars"), jars)
}

func lastLines(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// apache starts one broker again and again on the same data.
type apache struct {
	java, jars, dir string
	controller      string
	formatted       bool
}

func (k *apache) command(main string, args ...string) *exec.Cmd {
	all := append([]string{"-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", filepath.Join(k.jars, "*"), main}, args...)
	cmd := exec.Command(k.java, all...)
	cmd.Dir = k.dir
	return cmd
}

func (k *apache) start(target, advertised string) (func(), error) {
	settings := filepath.Join(k.dir, "server.properties")
	if !k.formatted {
		if err := os.WriteFile(settings, k.settings(target, advertised), 0o600); err != nil {
			return nil, err
		}
		out, err := k.command("kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", settings).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("formatting: %w\n%s", err, lastLines(out))
		}
		k.formatted = true
	}
	var out bytes.Buffer
	cmd := k.command("kafka.Kafka", settings)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = endWithParent()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	kill := func() {
		_ = cmd.Process.Kill() // it may have ended
		<-ended                //nolint:errcheck // it was killed
	}
	deadline := time.NewTimer(startTimeout)
	defer deadline.Stop()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		conn, err := net.DialTimeout("tcp", target, time.Second)
		if err == nil {
			return kill, conn.Close()
		}
		select {
		case err := <-ended:
			return nil, fmt.Errorf("it ended: %w\n%s", err, lastLines(out.Bytes()))
		case <-deadline.C:
			kill()
			return nil, fmt.Errorf("it did not listen within %s\n%s", startTimeout, lastLines(out.Bytes()))
		case <-poll.C:
		}
	}
}

func (k *apache) settings(target, advertised string) []byte {
	return fmt.Appendf(nil, `process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://%s,CONTROLLER://%s
advertised.listeners=PLAINTEXT://%s
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
controller.quorum.voters=1@%s
log.dirs=%s
num.partitions=1
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
num.network.threads=1
num.io.threads=2
background.threads=1
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
log.cleaner.enable=false
`, target, k.controller, advertised, k.controller, filepath.Join(k.dir, "data"))
}
