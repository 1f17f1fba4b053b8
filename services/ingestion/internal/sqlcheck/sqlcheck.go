// Package sqlcheck reads SQL that people wrote, with DuckDB's own parser and
// without running it: one expression over a row, or one SELECT. It refuses what
// is neither, and table functions, which read files.
//
// A Checker opens its DuckDB session at the first question and closes it with
// Close.
package sqlcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/freshet-io/freshet/libs/duckdb"
)

// Checker asks DuckDB's parser.
type Checker struct {
	engine *duckdb.Engine

	mu      sync.Mutex
	session *duckdb.Session
}

// New returns a checker whose session comes from engine.
func New(engine *duckdb.Engine) *Checker { return &Checker{engine: engine} }

// Close closes the session, if one was opened.
func (c *Checker) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		return nil
	}
	s := c.session
	c.session = nil
	return s.Close()
}

// Expression checks one scalar expression.
func (c *Checker) Expression(sql string) error {
	statement, err := c.parse("SELECT (" + sql + "\n) FROM data")
	if err != nil {
		return err
	}
	list, _ := statement["select_list"].([]any)
	from, _ := statement["from_table"].(map[string]any)
	if len(list) != 1 || from["table_name"] != "data" || statement["where_clause"] != nil || modified(statement) {
		return errors.New("this is more than one expression")
	}
	if name := tableFunction(statement, true); name != "" {
		return fmt.Errorf("%s is not allowed in an expression", name)
	}
	return nil
}

// Query checks one SELECT.
func (c *Checker) Query(sql string) error {
	statement, err := c.parse(sql)
	if err != nil {
		return err
	}
	if name := tableFunction(statement, false); name != "" {
		return fmt.Errorf("%s reads what is outside the data, which is not allowed", name)
	}
	return nil
}

func modified(statement map[string]any) bool {
	list, _ := statement["modifiers"].([]any)
	return len(list) > 0
}

// parse returns the one statement that the text is.
func (c *Checker) parse(sql string) (map[string]any, error) {
	if strings.IndexByte(sql, 0) >= 0 {
		return nil, errors.New("it contains a NUL character")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx := context.Background()
	if c.session == nil {
		s, err := c.engine.Session(ctx)
		if err != nil {
			return nil, err
		}
		if err := s.Seal(ctx); err != nil {
			return nil, errors.Join(err, s.Close())
		}
		c.session = s
	}
	t, err := c.session.Prepared(ctx, "SELECT json_serialize_sql(?::VARCHAR)::VARCHAR AS tree", sql)
	if err != nil {
		return nil, err
	}
	var tree struct {
		Error      bool   `json:"error"`
		Message    string `json:"error_message"`
		Statements []struct {
			Node map[string]any `json:"node"`
		} `json:"statements"`
	}
	if err := json.Unmarshal([]byte(t.Columns[0].Strings[0]), &tree); err != nil {
		return nil, err
	}
	switch {
	case tree.Error && strings.Contains(tree.Message, "Only SELECT"):
		return nil, errors.New("only SELECT is allowed")
	case tree.Error:
		message, _, _ := strings.Cut(tree.Message, "\n")
		return nil, errors.New(message)
	case len(tree.Statements) != 1:
		return nil, errors.New("there must be exactly one statement, without a semicolon inside")
	}
	return tree.Statements[0].Node, nil
}

// tableFunction finds a table function or a quoted file in a FROM clause; nested
// says that every subquery is one too many.
func tableFunction(node any, nested bool) string {
	switch n := node.(type) {
	case map[string]any:
		switch n["type"] {
		case "TABLE_FUNCTION":
			if f, ok := n["function"].(map[string]any); ok {
				name := fmt.Sprint(f["function_name"])
				switch name {
				case "range", "generate_series", "unnest":
				default:
					return name
				}
			}
			return ""
		case "BASE_TABLE":
			if name := fmt.Sprint(n["table_name"]); strings.ContainsAny(name, "/.:*") {
				return name
			}
		case "SUBQUERY":
			if nested {
				return "a subquery"
			}
		}
		for _, child := range n {
			if found := tableFunction(child, nested); found != "" {
				return found
			}
		}
	case []any:
		for _, child := range n {
			if found := tableFunction(child, nested); found != "" {
				return found
			}
		}
	}
	return ""
}
