package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/freshet-io/freshet/libs/tools/generated"
)

const (
	tableBegin = "<!-- generated:events -->"
	tableEnd   = "<!-- /generated:events -->"
)

// writeReadmes puts every service's table of events between the markers of its
// README. A README without markers gets them at its end.
func writeReadmes(c *catalogue, services string) error {
	for _, service := range c.services() {
		dir := filepath.Join(services, service)
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		path := filepath.Join(dir, "README.md")
		old, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			old, err = []byte("# "+service+"\n"), nil
		}
		if err != nil {
			return err
		}
		text, err := replaceTable(old, eventTable(c, service))
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err := generated.Write(path, text); err != nil {
			return err
		}
	}
	return nil
}

func replaceTable(readme, table []byte) ([]byte, error) {
	block := slices.Concat([]byte(tableBegin+"\n\n"), table, []byte("\n"+tableEnd))
	begin, end := bytes.Index(readme, []byte(tableBegin)), bytes.Index(readme, []byte(tableEnd))
	switch {
	case begin < 0 && end < 0:
		return slices.Concat(bytes.TrimRight(readme, "\n"), []byte("\n\n"), block, []byte("\n")), nil
	case begin < 0:
		return nil, errors.New("the table's end marker stands alone")
	case end < begin: // a begin marker alone, or the end before it
		if end >= 0 {
			return nil, errors.New("the table's markers are in the wrong order")
		}
		return slices.Concat(readme[:begin], block, readme[begin+len(tableBegin):]), nil
	}
	return slices.Concat(readme[:begin], block, readme[end+len(tableEnd):]), nil
}

func eventTable(c *catalogue, service string) []byte {
	var b bytes.Buffer
	b.WriteString("| produces | kind | subject | read by |\n|---|---|---|---|\n")
	for _, ch := range c.channels {
		if ch.Owner == service {
			fmt.Fprintf(&b, "| [`%s`](../../contracts/%s) | %s | %s | %s |\n", ch.name(), ch.path(), ch.Kind, ch.Subject, strings.Join(sorted(ch.Consumers), ", "))
		}
	}
	b.WriteString("\n| consumes | of | kind |\n|---|---|---|\n")
	for _, ch := range c.channels {
		if slices.Contains(ch.Consumers, service) {
			fmt.Fprintf(&b, "| [`%s`](../../contracts/%s) | %s | %s |\n", ch.name(), ch.path(), ch.Owner, ch.Kind)
		}
	}
	return b.Bytes()
}

func sorted(names []string) []string {
	s := slices.Clone(names)
	slices.Sort(s)
	return s
}
