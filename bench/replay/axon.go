package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/freshet-io/freshet/libs/eventlog"
	"github.com/jackc/pgx/v5"
)

//go:embed axon
var axonSource embed.FS

// What was fastest of the batches and segments that were tried.
const (
	axonBatch    = "1024" // events of a unit of work, which is a transaction
	axonSegments = "2"    // threads that fold
)

// axon is Axon Framework's replay, in a process of its own that lives as long as the
// run, so that its compiler has seen everything once.
type axon struct {
	conn  *pgx.Conn
	cmd   *exec.Cmd
	asks  io.WriteCloser
	lines *bufio.Scanner
}

// startAxon loads an event store with the log's first n events, and replays once to
// warm up. Nil and a reason where Java or Maven is missing, or cannot build it.
func startAxon(ctx context.Context, dir, postgresURL, natsURL string, n int) (*axon, string, error) {
	for _, tool := range []string{"java", "javac", "mvn"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, tool + " is not installed", nil
		}
	}
	classes, err := buildAxon(ctx)
	if err != nil {
		return nil, err.Error(), nil
	}
	file := filepath.Join(dir, "axon.jsonl")
	if err := writeLines(ctx, file, natsURL, n); err != nil {
		return nil, "", err
	}
	a := &axon{}
	if a.conn, err = pgx.Connect(ctx, postgresURL); err != nil {
		return nil, "", err
	}
	if _, err := a.conn.Exec(ctx, "CREATE SCHEMA axon; SET search_path = axon;"+stateTables); err != nil {
		return nil, "", err
	}
	c := a.conn.Config()
	query := url.Values{"user": {c.User}, "password": {c.Password}, "currentSchema": {"axon"}, "options": {"-c synchronous_commit=off"},
		"socketFactory": {"org.newsclub.net.unix.AFUNIXSocketFactory$FactoryArg"}, "socketFactoryArg": {fmt.Sprintf("%s/.s.PGSQL.%d", c.Host, c.Port)}}
	a.cmd = exec.CommandContext(ctx, "java", "-Xmx1g", "-XX:+UseParallelGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-cp", filepath.Join(classes, "classes")+":"+filepath.Join(classes, "jars", "*"), "io.freshet.bench.Replay", file, axonBatch, axonSegments)
	a.cmd.Env = append(os.Environ(), "JDBC_URL=jdbc:postgresql://localhost/"+c.Database+"?"+query.Encode())
	a.cmd.Stderr = os.Stderr
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	a.lines = bufio.NewScanner(out)
	if a.asks, err = a.cmd.StdinPipe(); err != nil {
		return nil, "", err
	}
	if err := a.cmd.Start(); err != nil {
		return nil, "", err
	}
	if err := a.answer("loaded", n); err != nil {
		return nil, "", errors.Join(err, a.close(ctx))
	}
	if _, err := a.conn.Exec(ctx, "VACUUM ANALYZE domainevententry"); err != nil {
		return nil, "", errors.Join(err, a.close(ctx))
	}
	if err := a.replay(ctx, n); err != nil {
		return nil, "", errors.Join(err, a.close(ctx))
	}
	return a, "", nil
}

// replay has Axon empty the table and fold all its events into it again.
func (a *axon) replay(_ context.Context, n int) error {
	if _, err := io.WriteString(a.asks, "replay\n"); err != nil {
		return err
	}
	return a.answer("replayed", n)
}

func (a *axon) answer(word string, n int) error {
	if !a.lines.Scan() {
		return errors.Join(errors.New("the Java program ended"), a.lines.Err())
	}
	if want := word + " " + strconv.Itoa(n); a.lines.Text() != want {
		return fmt.Errorf("the Java program says %q, not %q", a.lines.Text(), want)
	}
	return nil
}

func (a *axon) state() eventlog.Reader { return a.conn }

func (a *axon) close(ctx context.Context) error {
	return errors.Join(a.asks.Close(), a.cmd.Wait(), a.conn.Close(ctx))
}

// writeLines writes the log's first n events to a file, one a line.
func writeLines(ctx context.Context, file, natsURL string, n int) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	err = consume(ctx, natsURL, n, func(data []byte) error {
		_, err := w.Write(append(data, '\n'))
		return err
	})
	return errors.Join(err, w.Flush(), f.Close())
}

// buildAxon has Maven compile the program and fetch what it needs, once per version
// of it, into the user's cache, and returns that directory.
func buildAxon(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	err = fs.WalkDir(axonSource, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := axonSource.ReadFile(path)
		fmt.Fprintln(sum, path, len(b)) //nolint:errcheck // a hash takes everything
		sum.Write(b)
		return err
	})
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "freshet", "replay-axon-"+hex.EncodeToString(sum.Sum(nil)[:8]))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), ".build-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work) //nolint:errcheck // a cache
	if err := os.CopyFS(work, axonSource); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "mvn", "-q", "-B", "compile", "dependency:copy-dependencies", "-DoutputDirectory=target/jars", "-DincludeScope=runtime")
	cmd.Dir = filepath.Join(work, "axon")
	if out, err := cmd.CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return "", fmt.Errorf("building it with Maven: %w\n%s", err, strings.Join(lines[:min(5, len(lines))], "\n"))
	}
	return dir, os.Rename(filepath.Join(work, "axon", "target"), dir)
}
