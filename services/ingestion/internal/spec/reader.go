package spec

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/freshet-io/freshet/events"
	"go.yaml.in/yaml/v4"
)

// Limits of one file and of one reading.
const (
	maxFile     = 256 << 10
	maxNodes    = 20000 // values of a document, aliases expanded
	maxDepth    = 24
	maxProblems = 100
	maxText     = 4096
)

// reader collects the problems of one file.
type reader struct {
	file     string
	problems *[]events.Problem
}

func (r *reader) add(line, column int, field, message, fix string) {
	if len(*r.problems) >= maxProblems {
		return
	}
	p := events.Problem{File: r.file, Line: int64(max(line, 1)), Field: clip(field), Message: clip(message), Fix: clip(fix)}
	if column > 0 {
		c := int64(column)
		p.Column = &c
	}
	*r.problems = append(*r.problems, p)
}

// clip keeps a text within what an event may carry, and printable.
func clip(s string) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\\0"), "?")
	if len(s) > 1024 {
		s = s[:1020]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
		s += " ..."
	}
	return s
}

// documents splits a file into the values of its YAML documents.
func (r *reader) documents(raw []byte) []value {
	if len(raw) > maxFile {
		r.add(1, 1, "", fmt.Sprintf("the file has %d bytes; at most %d are read", len(raw), maxFile), "split it into several files")
		return nil
	}
	if i := invalidUTF8(raw); i >= 0 {
		r.add(1+bytes.Count(raw[:i], []byte("\n")), 0, "", "the file is not UTF-8", "save it as UTF-8 without control characters")
		return nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(raw), yaml.WithV4Defaults())
	if err != nil {
		r.add(1, 1, "", err.Error(), "write YAML 1.2")
		return nil
	}
	var out []value
	for {
		var n yaml.Node
		err := loader.Load(&n)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			r.syntax(err)
			return out
		}
		if n.Kind != yaml.DocumentNode || len(n.Content) == 0 {
			continue
		}
		root := n.Content[0]
		if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
			continue // an empty document between two separators
		}
		v := value{r: r, n: root}
		if v.bounded() {
			out = append(out, v)
		}
	}
}

func invalidUTF8(raw []byte) int {
	for i := 0; i < len(raw); {
		c, size := utf8.DecodeRune(raw[i:])
		if c == utf8.RuneError && size == 1 || c == 0 {
			return i
		}
		i += size
	}
	return -1
}

func (r *reader) syntax(err error) {
	var le *yaml.LoadError
	if !errors.As(err, &le) {
		r.add(1, 0, "", "this is not YAML: "+err.Error(), "write YAML 1.2")
		return
	}
	line, column, fix := le.Mark.Line, le.Mark.Column, "check indentation, quotes and brackets on this line and the one before"
	switch m := le.Message; {
	case strings.Contains(m, "cannot start any token"):
		fix = "indent with spaces, not tabs, and quote text that begins with @, ` or %"
	case strings.Contains(m, "mapping values are not allowed"):
		fix = `put text that contains ": " in quotes`
	case strings.Contains(m, "unknown anchor"):
		fix = "define the anchor with & before it is used with *, or quote text that begins with *"
	case strings.Contains(m, "unexpected end of stream"):
		line, column = le.ContextMark.Line, le.ContextMark.Column
		fix = "close the quote"
	case strings.Contains(m, "expected ',' or"):
		if le.ContextMark.Line > 0 {
			line, column = le.ContextMark.Line, le.ContextMark.Column
		}
		fix = "close the bracket that opens here, and put a comma between its values"
	}
	r.add(line, column, "", "this is not YAML: "+le.Message, fix)
}

// value is one YAML value and where it stands.
type value struct {
	r    *reader
	n    *yaml.Node
	path string
}

func (v value) node() *yaml.Node {
	n := v.n
	for n.Kind == yaml.AliasNode && n.Alias != nil {
		n = n.Alias
	}
	return n
}

func (v value) problem(message, fix string) {
	v.r.add(v.n.Line, v.n.Column, v.path, message, fix)
}

// bounded walks a document with its aliases expanded and refuses what is too
// deep, too large, recursive or of a foreign type, so that all reading after it
// is cheap.
func (v value) bounded() bool {
	count := 0
	var walk func(n *yaml.Node, depth int, at *yaml.Node) bool
	walk = func(n *yaml.Node, depth int, at *yaml.Node) bool {
		if n.Kind == yaml.AliasNode {
			if n.Alias == nil {
				return true
			}
			if at.Kind != yaml.AliasNode {
				at = n
			}
			return walk(n.Alias, depth+1, at)
		}
		if count++; count > maxNodes || depth > maxDepth {
			v.r.add(at.Line, at.Column, "", fmt.Sprintf("the document is nested more than %d deep or has more than %d values with its anchors expanded",
				maxDepth, maxNodes),
				"write it without nested anchors")
			return false
		}
		if tag := n.ShortTag(); n.Tag != "" && !coreTag(tag) {
			v.r.add(n.Line, n.Column, "", fmt.Sprintf("the tag %s is not part of YAML 1.2's core", tag), "remove the tag")
			return false
		}
		for _, c := range n.Content {
			from := c
			if at.Kind == yaml.AliasNode {
				from = at
			}
			if !walk(c, depth+1, from) {
				return false
			}
		}
		return true
	}
	return walk(v.n, 0, v.n)
}

func coreTag(tag string) bool {
	switch tag {
	case "!!str", "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq", "!!timestamp", "!!merge":
		return true
	}
	return false
}

// fields are the entries of a mapping with known keys.
type fields struct {
	value
	byKey map[string]value
}

// mapping reads a mapping whose keys are among allowed.
func (v value) mapping(allowed ...string) (fields, bool) {
	f := fields{value: v, byKey: map[string]value{}}
	entries, ok := v.entries()
	if !ok {
		return f, false
	}
	for _, e := range entries {
		if !contains(allowed, e.key) {
			fix := "remove it; known here: " + strings.Join(allowed, ", ")
			if s := nearest(e.key, allowed); s != "" {
				fix = fmt.Sprintf("write %q instead", s)
			}
			v.r.add(e.line, e.column, e.value.path, fmt.Sprintf("unknown key %q", e.key), fix)
			continue
		}
		f.byKey[e.key] = e.value
	}
	return f, true
}

func (f fields) get(key string) (value, bool) {
	v, ok := f.byKey[key]
	return v, ok
}

// need reports a key that is not there.
func (f fields) need(key, fix string) (value, bool) {
	v, ok := f.byKey[key]
	if !ok {
		f.r.add(f.n.Line, f.n.Column, join(f.path, key), fmt.Sprintf("%q is missing", join(f.path, key)), fix)
	}
	return v, ok
}

type entry struct {
	key          string
	line, column int
	value        value
}

// entries reads a mapping with any text keys, in the order written.
func (v value) entries() ([]entry, bool) {
	n := v.node()
	if n.Kind != yaml.MappingNode {
		v.problem(v.name()+" is "+kindOf(n)+", not a mapping", `write "key: value" lines below it, or {key: value}`)
		return nil, false
	}
	seen := map[string]int{}
	var out []entry
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if k.Kind == yaml.AliasNode {
			k = k.Alias
		}
		if k.Kind != yaml.ScalarNode || k.ShortTag() == "!!null" {
			v.r.add(n.Content[i].Line, n.Content[i].Column, v.path, "a key is "+kindOf(k)+", not text", "write a plain word as the key")
			continue
		}
		if k.ShortTag() == "!!merge" {
			v.r.add(k.Line, k.Column, v.path, "merge keys (<<) are not part of YAML 1.2", "write the keys out")
			continue
		}
		if first, dup := seen[k.Value]; dup {
			v.r.add(k.Line, k.Column, join(v.path, k.Value), fmt.Sprintf("key %q occurs twice; it is first on line %d", k.Value, first), "keep one of the two")
			continue
		}
		seen[k.Value] = k.Line
		out = append(out, entry{key: k.Value, line: k.Line, column: k.Column,
			value: value{r: v.r, n: n.Content[i+1], path: join(v.path, k.Value)}})
	}
	return out, true
}

// list reads a sequence.
func (v value) list() ([]value, bool) {
	n := v.node()
	if n.Kind != yaml.SequenceNode {
		v.problem(v.name()+" is "+kindOf(n)+", not a list", "write it in brackets: ["+strings.TrimSpace(n.Value)+"]")
		return nil, false
	}
	out := make([]value, len(n.Content))
	for i, c := range n.Content {
		out[i] = value{r: v.r, n: c, path: fmt.Sprintf("%s[%d]", v.path, i)}
	}
	return out, true
}

func (v value) name() string {
	if v.path == "" {
		return "the document"
	}
	return fmt.Sprintf("%q", v.path)
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "empty"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!timestamp":
		return "a date"
	}
	return "text"
}

// text reads a text that is not empty.
func (v value) text() (string, bool) {
	n := v.node()
	if n.Kind != yaml.ScalarNode {
		v.problem(v.name()+" is "+kindOf(n)+", not text", "write one text")
		return "", false
	}
	if n.ShortTag() != "!!str" {
		if n.ShortTag() == "!!null" || strings.TrimSpace(n.Value) == "" {
			v.problem(v.name()+" is empty", "write a value or remove the key")
			return "", false
		}
		v.problem(v.name()+" is "+kindOf(n)+", not text", fmt.Sprintf("put it in quotes: %q", n.Value))
		return "", false
	}
	if strings.TrimSpace(n.Value) == "" {
		v.problem(v.name()+" is empty", "write a value or remove the key")
		return "", false
	}
	if len(n.Value) > maxText {
		v.problem(fmt.Sprintf("%s has %d characters; at most %d are taken", v.name(), len(n.Value), maxText), "shorten it")
		return "", false
	}
	return n.Value, true
}

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,62}$`)

// ident reads a name as datasets, views and models have it.
func (v value) ident() (string, bool) {
	s, ok := v.text()
	if ok && !namePattern.MatchString(s) {
		v.problem(fmt.Sprintf("%q is no name", s), fmt.Sprintf("use 1 to 63 of a-z, 0-9, _, . and -, first a letter or digit, such as %q", nameLike(s)))
		return "", false
	}
	return s, ok
}

// keyIdent checks a mapping's key as a name.
func (e entry) keyIdent(what string) bool {
	if namePattern.MatchString(e.key) {
		return true
	}
	e.value.r.add(e.line, e.column, e.value.path, fmt.Sprintf("%q is no name for %s", e.key, what),
		fmt.Sprintf("use 1 to 63 of a-z, 0-9, _, . and -, first a letter or digit, such as %q", nameLike(e.key)))
	return false
}

func nameLike(s string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			b.WriteRune(c)
		case b.Len() > 0 && b.Len() < 60:
			b.WriteByte('-')
		}
		if b.Len() >= 60 {
			break
		}
	}
	if out := strings.Trim(b.String(), "-"); out != "" {
		return out
	}
	return "flights"
}

// choice reads one of several words.
func (v value) choice(allowed ...string) (string, bool) {
	s, ok := v.text()
	if !ok {
		return "", false
	}
	if !contains(allowed, s) {
		fix := "write one of " + strings.Join(allowed, ", ")
		if near := nearest(s, allowed); near != "" {
			fix = fmt.Sprintf("write %q instead", near)
		}
		v.problem(fmt.Sprintf("%s is %q", v.name(), s), fix)
		return "", false
	}
	return s, true
}

var decimal = regexp.MustCompile(`^[-+]?[0-9]{1,18}$`)

// integer reads a whole number within [least, most].
func (v value) integer(least, most int64) (int64, bool) {
	n := v.node()
	if n.Kind != yaml.ScalarNode || n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 || !decimal.MatchString(n.Value) {
		fix := fmt.Sprintf("write a whole number such as %d", max(least, 1))
		if n.Kind == yaml.ScalarNode && decimal.MatchString(n.Value) {
			fix = "write it without quotes: " + n.Value
		}
		v.problem(v.name()+" is not a whole number", fix)
		return 0, false
	}
	i, err := strconv.ParseInt(n.Value, 10, 64)
	if err != nil || i < least || i > most {
		v.problem(fmt.Sprintf("%s is %s; from %d to %d is allowed", v.name(), n.Value, least, most), fmt.Sprintf("write a number from %d to %d", least, most))
		return 0, false
	}
	return i, true
}

var number = regexp.MustCompile(`^[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?$`)

// float reads a finite number within [least, most].
func (v value) float(least, most float64) (float64, bool) {
	n := v.node()
	if n.Kind != yaml.ScalarNode || n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 || !number.MatchString(n.Value) {
		v.problem(v.name()+" is not a number", "write a decimal number such as 0.25")
		return 0, false
	}
	f, err := strconv.ParseFloat(n.Value, 64)
	if err != nil || f < least || f > most {
		lo, hi := strconv.FormatFloat(least, 'g', -1, 64), strconv.FormatFloat(most, 'g', -1, 64)
		v.problem(fmt.Sprintf("%s is %s; from %s to %s is allowed", v.name(), n.Value, lo, hi), fmt.Sprintf("write a number from %s to %s", lo, hi))
		return 0, false
	}
	return f, true
}

// any reads a value of free shape, as JSON would hold it.
func (v value) any() (any, bool) {
	n := v.node()
	switch n.Kind {
	case yaml.MappingNode:
		entries, ok := v.entries()
		out := map[string]any{}
		for _, e := range entries {
			x, good := e.value.any()
			out[e.key], ok = x, ok && good
		}
		return out, ok
	case yaml.SequenceNode:
		items, ok := v.list()
		out := make([]any, len(items))
		for i, item := range items {
			x, good := item.any()
			out[i], ok = x, ok && good
		}
		return out, ok
	}
	switch n.ShortTag() {
	case "!!null":
		return nil, true
	case "!!bool":
		return strings.EqualFold(n.Value, "true"), true
	case "!!int":
		return v.integer(math.MinInt64, math.MaxInt64)
	case "!!float":
		return v.float(-math.MaxFloat64, math.MaxFloat64)
	}
	if len(n.Value) > maxText {
		v.problem(fmt.Sprintf("%s has %d characters; at most %d are taken", v.name(), len(n.Value), maxText), "shorten it")
		return nil, false
	}
	return n.Value, true
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
