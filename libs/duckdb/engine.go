package duckdb

import (
	"context"
	"database/sql/driver"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"sync"

	duck "github.com/duckdb/duckdb-go/v2"
)

// Options limit what sessions may use. The zero value has working defaults.
type Options struct {
	MemoryLimit string // of each session, such as "512MiB" (the default)
	Threads     int    // of each session; all processors if zero
	TempDir     string // where large queries spill; without it they fail with OutOfMemory
	TempLimit   string // the most they may spill, "4GiB" by default
	Sessions    int    // open at once; 4 by default
}

// An Engine opens sessions.
type Engine struct {
	options Options
	slots   chan struct{}
}

var sizePattern = regexp.MustCompile(`^[0-9]+(\.[0-9]+)? ?([KMGT]i?B|B)$`)

// Open checks the options. Memory is taken by sessions only.
func Open(_ context.Context, o Options) (*Engine, error) {
	if o.MemoryLimit == "" {
		o.MemoryLimit = "512MiB"
	}
	if o.TempLimit == "" {
		o.TempLimit = "4GiB"
	}
	if o.Threads <= 0 {
		o.Threads = runtime.NumCPU()
	}
	if o.Sessions <= 0 {
		o.Sessions = 4
	}
	for _, size := range []string{o.MemoryLimit, o.TempLimit} {
		if !sizePattern.MatchString(size) {
			return nil, fmt.Errorf("duckdb: %q is not a size; write one such as 512MiB or 2GB", size)
		}
	}
	return &Engine{options: o, slots: make(chan struct{}, o.Sessions)}, nil
}

// Session opens a database in memory. It waits while too many are open.
func (e *Engine) Session(ctx context.Context) (*Session, error) {
	select {
	case e.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	s, err := e.open(ctx)
	if err != nil {
		<-e.slots
		return nil, err
	}
	return s, nil
}

func (e *Engine) open(ctx context.Context) (*Session, error) {
	c, err := duck.NewConnector("", func(driver.ExecerContext) error { return nil })
	if err != nil {
		return nil, wrap(err, "")
	}
	conn, err := c.Connect(ctx)
	if err != nil {
		return nil, wrap(firstOf(err, c.Close()), "")
	}
	s := &Session{engine: e, connector: c, conn: conn.(*duck.Conn), statements: map[string]*duck.Stmt{}}
	settings := []string{
		fmt.Sprintf("SET memory_limit='%s'", e.options.MemoryLimit),
		fmt.Sprintf("SET threads=%d", e.options.Threads),
		"SET autoinstall_known_extensions=false", "SET autoload_known_extensions=false",
		"SET allow_community_extensions=false", "SET TimeZone='UTC'", "SET preserve_insertion_order=true",
	}
	if e.options.TempDir != "" {
		settings = append(settings, "SET temp_directory="+Quote(e.options.TempDir),
			fmt.Sprintf("SET max_temp_directory_size='%s'", e.options.TempLimit))
	} else {
		settings = append(settings, "SET temp_directory=''")
	}
	for _, sql := range settings {
		if err := s.Exec(ctx, sql); err != nil {
			return nil, firstOf(err, s.shut())
		}
	}
	return s, nil
}

// Do runs fn in a session of its own and closes it.
func (e *Engine) Do(ctx context.Context, fn func(*Session) error) error {
	s, err := e.Session(ctx)
	if err != nil {
		return err
	}
	err = fn(s)
	return firstOf(err, s.Close())
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// Quote writes a string as an SQL literal.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// Ident writes a name as a quoted SQL identifier.
func Ident(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// closing guards against a second Close of a session.
type closing struct {
	sync.Once
	err error
}
