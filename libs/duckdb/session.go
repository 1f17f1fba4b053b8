package duckdb

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	duck "github.com/duckdb/duckdb-go/v2"
	"github.com/freshet-io/freshet/libs/parquet"
)

// A Session is one database in memory. Its methods may be called from several
// goroutines; they run one after another.
type Session struct {
	engine    *Engine
	connector *duck.Connector
	closing   closing

	mu         sync.Mutex
	conn       *duck.Conn
	sealed     bool
	paths      []string
	statements map[string]*duck.Stmt // prepared by Select and kept by Prepared
}

// Close gives the session's memory back. It is safe to call twice.
func (s *Session) Close() error {
	s.closing.Do(func() {
		s.closing.err = s.shut()
		<-s.engine.slots
	})
	return s.closing.err
}

func (s *Session) shut() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.statements {
		_ = st.Close()
	}
	s.statements = map[string]*duck.Stmt{}
	return wrap(errors.Join(s.conn.Close(), s.connector.Close()), "")
}

// Exec runs trusted SQL. Never pass it anything a user wrote.
func (s *Session) Exec(ctx context.Context, sql string, args ...any) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.conn.ExecContext(ctx, sql, named(args))
	return wrap(err, sql)
}

// Files makes Parquet files readable as one view, column by name, in the order
// of the paths; it stays readable in a sealed session.
func (s *Session) Files(ctx context.Context, view string, paths ...string) error {
	list, err := s.allow(paths)
	if err != nil {
		return err
	}
	return s.Exec(ctx, fmt.Sprintf("CREATE OR REPLACE VIEW %s AS SELECT * FROM read_parquet([%s], union_by_name=true)", Ident(view), list))
}

// Allow keeps further files readable after Seal, for trusted SQL of the caller.
func (s *Session) Allow(paths ...string) error {
	_, err := s.allow(paths)
	return err
}

func (s *Session) allow(paths []string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sealed {
		return "", &Error{Kind: Forbidden, Message: "files cannot be added to a sealed session"}
	}
	quoted := make([]string, len(paths))
	for i, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return "", err
		}
		quoted[i] = Quote(abs)
	}
	s.paths = append(s.paths, quoted...)
	return strings.Join(quoted, ", "), nil
}

// Seal shuts the session in: from here nothing but the named files can be read
// and no setting can be changed, whatever SQL runs.
func (s *Session) Seal(ctx context.Context) error {
	s.mu.Lock()
	sealed, paths := s.sealed, strings.Join(s.paths, ", ")
	s.sealed = true
	s.mu.Unlock()
	if sealed {
		return nil
	}
	if paths != "" {
		if err := s.Exec(ctx, "SET allowed_paths=["+paths+"]"); err != nil {
			return err
		}
	}
	if err := s.Exec(ctx, "SET enable_external_access=false"); err != nil {
		return err
	}
	return s.Exec(ctx, "SET lock_configuration=true")
}

// Select runs one SELECT and returns its columns. It refuses every other
// statement, and more than one.
func (s *Session) Select(ctx context.Context, sql string, args ...any) (*parquet.Table, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.prepare(sql)
	if err != nil {
		return nil, err
	}
	t, err := run(ctx, st, sql, args)
	return t, firstOf(err, wrap(st.Close(), sql))
}

// Prepared is Select with the statement kept for the next call with the same text.
func (s *Session) Prepared(ctx context.Context, sql string, args ...any) (*parquet.Table, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, ok := s.statements[sql]
	if !ok {
		var err error
		if st, err = s.prepare(sql); err != nil {
			return nil, err
		}
		s.statements[sql] = st
	}
	t, err := run(ctx, st, sql, args)
	if err != nil { // a failed statement may be bound to what is gone
		delete(s.statements, sql)
		_ = st.Close()
	}
	return t, err
}

// Check reports whether a SELECT can run over what is loaded, without running it.
func (s *Session) Check(_ context.Context, sql string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.prepare(sql)
	if err != nil {
		return err
	}
	return wrap(st.Close(), sql)
}

func (s *Session) prepare(sql string) (*duck.Stmt, error) {
	p, err := s.conn.Prepare(sql)
	if err != nil {
		if strings.Contains(err.Error(), "multi-statement") {
			return nil, &Error{Kind: Forbidden, Message: "exactly one SELECT is allowed, and no semicolon between statements", SQL: sql}
		}
		return nil, wrap(err, sql)
	}
	st := p.(*duck.Stmt)
	kind, err := st.StatementType()
	if err != nil {
		_ = st.Close()
		return nil, wrap(err, sql)
	}
	if kind != duck.STATEMENT_TYPE_SELECT {
		_ = st.Close()
		return nil, &Error{Kind: Forbidden, Message: "only SELECT is allowed", SQL: sql}
	}
	return st, nil
}

// Export writes the rows of one SELECT to a new Parquet file and returns how many
// there are. The path must be reachable: call it before Seal, or Allow the path first.
func (s *Session) Export(ctx context.Context, path, sql string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.prepare(sql)
	if err != nil {
		return 0, err
	}
	_ = st.Close()
	copySQL := fmt.Sprintf("COPY (%s) TO %s (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 122880)", strings.TrimRight(strings.TrimSpace(sql), ";"),
		Quote(path))
	res, err := s.conn.ExecContext(ctx, copySQL, nil)
	if err != nil {
		return 0, wrap(err, sql)
	}
	return res.RowsAffected()
}

func named(args []any) []driver.NamedValue {
	out := make([]driver.NamedValue, len(args))
	for i, a := range args {
		out[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	return out
}
