package apachekafka

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Version of Apache Kafka; pom.xml names it again.
const Version = "4.1.0"

const (
	fetchTimeout = 5 * time.Minute
	oldestJava   = 17
	clusterID    = "MkU3OEVBNTcwNTJENDM2Qk"
)

//go:embed pom.xml
var pom []byte

// An Install can run Apache Kafka on this machine.
type Install struct{ java, jars string }

// Find finds Java and Kafka, which it fetches the first time. Its error says what is
// missing.
func Find() (Install, error) {
	java, err := exec.LookPath("java")
	if err != nil {
		return Install{}, fmt.Errorf("java is not installed; version %d or later is needed", oldestJava)
	}
	v, err := javaVersion(java)
	if err != nil {
		return Install{}, fmt.Errorf("java does not say its version: %w", err)
	}
	if v < oldestJava {
		return Install{}, fmt.Errorf("java is version %d; %d or later is needed", v, oldestJava)
	}
	jars, err := fetch()
	return Install{java, jars}, err
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
// Processes that need it at once wait for each other.
func fetch() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(pom) // what is fetched follows from it
	jars := filepath.Join(cache, "freshet", "apache-kafka-"+Version+"-"+hex.EncodeToString(sum[:4]))
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
		return "", fmt.Errorf("fetching Apache Kafka from Maven Central: %w\n%s", err, LastLines(out))
	}
	return jars, os.Rename(filepath.Join(work, "jars"), jars)
}

// Script is a shell script that runs one of Kafka's programs, as those of its own bin.
func (i Install) Script(main string) string {
	return fmt.Sprintf("#!/bin/sh\nexec '%s' -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=warn "+
		"-cp '%s/*' %s \"$@\"\n",
		i.java, i.jars, main)
}

// LastLines are the end of what a program said.
func LastLines(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// A Broker is one on its data.
type Broker struct {
	Install
	Dir        string // its settings and its data
	Listen     string // address for clients
	Advertise  string // address that clients are told to use
	Controller string // address for itself
}

func (b Broker) settingsFile() string { return filepath.Join(b.Dir, "server.properties") }
func (b Broker) data() string         { return filepath.Join(b.Dir, "data") }

func (b Broker) args(main string, args ...string) []string {
	return append([]string{b.java, "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", filepath.Join(b.jars, "*"), main}, args...)
}

// Command is the broker's process, once it is prepared. It ends with this one.
func (b Broker) Command() *exec.Cmd { return b.command("kafka.Kafka", b.settingsFile()) }

// Become makes this process the broker's, once it is prepared: what is done to it is done
// to the broker, and the two end together.
func (b Broker) Become() error {
	if err := os.Chdir(b.Dir); err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := stayWithParent(); err != nil {
		return err
	}
	return syscall.Exec(b.java, b.args("kafka.Kafka", b.settingsFile()), os.Environ())
}

func (b Broker) command(main string, args ...string) *exec.Cmd {
	all := b.args(main, args...)
	cmd := exec.Command(all[0], all[1:]...)
	cmd.Dir = b.Dir
	cmd.SysProcAttr = endWithParent()
	return cmd
}

// Prepare makes a directory the broker's, where it is not yet.
func (b Broker) Prepare() error {
	if _, err := os.Stat(filepath.Join(b.data(), "meta.properties")); err == nil {
		return nil
	}
	if err := os.WriteFile(b.settingsFile(), b.settings(), 0o600); err != nil {
		return err
	}
	out, err := b.command("kafka.tools.StorageTool", "format", "-t", clusterID, "-c", b.settingsFile()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("formatting: %w\n%s", err, LastLines(out))
	}
	return nil
}

func (b Broker) settings() []byte {
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
`, b.Listen, b.Controller, b.Advertise, b.Controller, b.data())
}
