package sqlbatch

import (
	"regexp"
	"strings"
	"testing"
)

var words = map[string]Table{
	"words": {Columns: []string{"word", "n", "last"}, Key: []string{"word"}},
	"pairs": {Columns: []string{"a", "b", "n"}, Key: []string{"b", "a"}},
	"twice": {Columns: []string{"a", "b"}, Key: []string{"a"}, unique: true},
}

// Whatever a text is, reading it ends; and what is to be merged is of a table that is
// known, names its whole key by arguments of its own, reads arguments from the arrays
// alone, and keeps every literal.
func FuzzAStatementIsMergedOrLeftAsItIs(f *testing.F) {
	for _, sql := range []string{
		`INSERT INTO words (word, n, last) VALUES ($1, $2, 'new') ON CONFLICT (word) DO UPDATE SET n = words.n + excluded.n`,
		`INSERT INTO pairs (a, b, n) VALUES ($1, $2, $3) ON CONFLICT (b, a) DO NOTHING`,
		`UPDATE words SET n = 3 * n + $2, last = last || word WHERE word = $1 AND length(last) < 40`,
		`UPDATE words SET last = 'a  b' WHERE word = $1`, `UPDATE words SET last = '$1' WHERE word = $1`,
		`UPDATE words SET last = ' WHERE ' WHERE word = $1`, `UPDATE words SET last = E'\'' WHERE word = $1`,
		`UPDATE words SET last = $$ $1 $$ WHERE word = $1`, `UPDATE words SET n = 1 WHERE word = $1 OR n = $2`,
		`UPDATE twice SET b = $2 WHERE a = $1`, `DELETE FROM pairs WHERE a = $1 AND b = $2`, `DELETE FROM pairs WHERE a = $1`,
		`DELETE FROM words WHERE word = $1 -- AND`, `DELETE FROM words WHERE word = $99999999999999999999`, `INSERT INTO words (word) VALUES (`, `'`,
	} {
		f.Add(sql)
	}
	m := New(nil, words)
	quotes := regexp.MustCompile(`'[^']*'`)
	f.Fuzz(func(t *testing.T, sql string) {
		s := m.read(sql)
		if s.merged == "" {
			return
		}
		table, known := words[s.table]
		if !known || table.unique || len(s.key) != len(table.Key) {
			t.Fatalf("%q is merged as one of %q by %v", sql, s.table, s.key)
		}
		for _, at := range s.key {
			if at < 0 {
				t.Fatalf("%q has no argument %d", sql, at+1)
			}
		}
		if strings.Count(s.merged, "{rows}") != 1 || strings.Contains(s.merged, "$") {
			t.Fatalf("%q becomes %q", sql, s.merged)
		}
		was, is := quotes.FindAllString(sql, -1), quotes.FindAllString(s.merged, -1)
		if strings.Join(was, "") != strings.Join(is, "") {
			t.Fatalf("%q becomes %q, with other literals", sql, s.merged)
		}
	})
}

func TestWhatMayBeMisreadIsLeftAsItIs(t *testing.T) {
	t.Parallel()
	m := New(nil, words)
	for sql, merged := range map[string]bool{
		`UPDATE words SET last = 'a b' WHERE word = $1`:              true,
		`UPDATE words SET last = 'it''s' WHERE word = $1`:            true,
		`UPDATE words SET last = 'a  b' WHERE word = $1`:             false,
		`UPDATE words SET last = '$1' WHERE word = $1`:               false,
		`UPDATE words SET last = E'\'' WHERE word = $1`:              false,
		`UPDATE words SET last = $$a$$ WHERE word = $1`:              false,
		`UPDATE words SET word = $2 WHERE word = $1`:                 false,
		`DELETE FROM pairs WHERE a = $1`:                             false,
		`DELETE FROM pairs WHERE a = $1 AND b = $2`:                  true,
		`DELETE FROM words WHERE word = $1 OR n = 1`:                 false,
		`UPDATE twice SET b = $2 WHERE a = $1`:                       false,
		`INSERT INTO words (word, n) VALUES ($1, now())`:             false,
		`INSERT INTO elsewhere (word) VALUES ($1)`:                   false,
		`DELETE FROM words WHERE word = $1 AND n = $1 -- AND n = $2`: false,
	} {
		if got := m.read(sql).merged != ""; got != merged {
			t.Errorf("%s: merged %t, want %t", sql, got, merged)
		}
	}
}
