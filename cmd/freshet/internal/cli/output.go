package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"
	"golang.org/x/term"
)

// Formats of -o.
const (
	formatTable = "table"
	formatWide  = "wide"
	formatJSON  = "json"
	formatYAML  = "yaml"
)

var formats = []string{formatTable, formatWide, formatJSON, formatYAML}

// checkFormat refuses a format that there is not.
func checkFormat(output string) error {
	if !slices.Contains(formats, output) {
		return usagef("-o %q is no format: write table, wide, json or yaml", output)
	}
	return nil
}

// forPrograms reports whether the answer is wanted as JSON or YAML.
func (c *client) forPrograms() bool { return c.output == formatJSON || c.output == formatYAML }

// encode writes an answer for programs, its keys in the order in which it came.
func (c *client) encode(w io.Writer, raw json.RawMessage) error {
	if c.output == formatYAML {
		return asYAML(w, raw)
	}
	return indented(w, raw)
}

// encodeValue writes what the command line itself found out.
func (c *client) encodeValue(w io.Writer, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	return c.encode(w, b.Bytes())
}

// indented writes JSON for programs.
func indented(w io.Writer, raw json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(raw), "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := b.WriteTo(w)
	return err
}

// asYAML writes JSON as YAML of the same values.
func asYAML(w io.Writer, raw json.RawMessage) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	node, err := yamlNode(d)
	if err != nil {
		return err
	}
	e := yaml.NewEncoder(w)
	e.SetIndent(2)
	return errors.Join(e.Encode(node), e.Close())
}

// yamlNode reads one JSON value; the order of keys is kept.
func yamlNode(d *json.Decoder) (*yaml.Node, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Delim:
		node := &yaml.Node{Kind: yaml.SequenceNode}
		if t == '{' {
			node.Kind = yaml.MappingNode
		}
		for d.More() {
			child, err := yamlNode(d) // keys are values of an object's stream, too
			if err != nil {
				return nil, err
			}
			node.Content = append(node.Content, child)
		}
		if len(node.Content) == 0 {
			node.Style = yaml.FlowStyle
		}
		_, err := d.Token() // its end
		return node, err
	case string:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: t}, nil
	case json.Number:
		tag := "!!int"
		if strings.ContainsAny(t.String(), ".eE") {
			tag = "!!float"
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: t.String()}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(t)}, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
}

// A screen is where tables appear. The zero screen is no terminal: what is written to it
// is never cut and has no colour.
type screen struct {
	width int // 0 where lines may be of any length
	color bool
}

// screenOf is what a command writes to.
func (c *client) screenOf(cmd *cobra.Command) screen {
	f, ok := cmd.OutOrStdout().(*os.File)
	if !ok || !terminal(f) {
		return screen{}
	}
	s := screen{color: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
	if width, _, err := term.GetSize(int(f.Fd())); err == nil && c.output != formatWide {
		s.width = width
	}
	return s
}

// terminal reports whether a person looks at a file.
func terminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

const (
	bold   = "\x1b[1m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	plain  = "\x1b[0m"
)

// paint colours a text where the screen shows colours.
func (s screen) paint(color, text string) string {
	if !s.color || color == "" || text == "" {
		return text
	}
	return color + text + plain
}

// colors of states: what is well, what needs nobody but is not over, and what is wrong.
var colors = map[string]string{
	"approved": green, "committed": green, "completed": green, "equal": green, "passed": green, "resolved": green, "serving": green, "yes": green,
	"alerted": yellow, "degraded": yellow, "drifted": yellow, "pushed": yellow, "requested": yellow, "rolling_out": yellow, "running": yellow,
	"shifting": yellow, "starting": yellow, "started": yellow, "trained": yellow, "waiting": yellow,
	"alarm": red, "cancelled": red, "denied": red, "failed": red, "parked": red, "refused": red, "rejected": red, "rolled_back": red, "unreachable": red,
}
