package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"sort"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/freshet-io/freshet/libs/tools/goname"
)

// schema is the part of JSON Schema 2020-12 that contracts use.
type schema struct {
	Schema      string             `json:"$schema"`
	ID          string             `json:"$id"`
	Ref         string             `json:"$ref"`
	Title       string             `json:"title"`
	Description string             `json:"description"`
	Type        string             `json:"type"`
	Format      string             `json:"format"`
	Pattern     string             `json:"pattern"`
	MinLength   *int               `json:"minLength"`
	MaxLength   *int               `json:"maxLength"`
	MinItems    *int               `json:"minItems"`
	MaxItems    *int               `json:"maxItems"`
	Minimum     *float64           `json:"minimum"`
	Maximum     *float64           `json:"maximum"`
	Enum        []string           `json:"enum"`
	Items       *schema            `json:"items"`
	Additional  *schema            `json:"additionalProperties"`
	Properties  map[string]*schema `json:"properties"`
	Required    []string           `json:"required"`

	order []string // of the properties, as written
}

func (s *schema) requires(property string) bool {
	for _, r := range s.Required {
		if r == property {
			return true
		}
	}
	return false
}

// channel is one event type.
type channel struct {
	Type      string   `yaml:"-"`
	Owner     string   `yaml:"owner"`
	Kind      string   `yaml:"kind"`
	Subject   string   `yaml:"subject"`
	Consumers []string `yaml:"consumers"`
}

// catalogue is everything that the contracts say.
type catalogue struct {
	raw      map[string][]byte  // every schema's text, by path
	schemas  map[string]*schema // those that become Go types, by path
	channels []channel          // as written
}

// isPayload reports whether a file is a schema that becomes a Go type. Inference
// records are volume, which their readers parse column by column; spec and job
// describe files of users, which are not events.
func isPayload(file string) bool {
	switch strings.SplitN(file, "/", 2)[0] {
	case "inference", "spec", "job":
		return false
	}
	return true
}

func parseSchema(raw []byte) (*schema, error) {
	s := &schema{}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(s); err != nil {
		return nil, fmt.Errorf("not in the part of JSON Schema that eventsgen knows: %w", err)
	}
	for _, r := range s.Required {
		if s.Properties[r] == nil {
			return nil, fmt.Errorf("requires %q, which is no property", r)
		}
	}
	order, err := propertyOrder(raw)
	s.order = order
	return s, err
}

// propertyOrder reads the order in which a schema writes its properties, which
// is the order of the struct's fields and of the encoded JSON.
func propertyOrder(raw []byte) ([]string, error) {
	var top struct {
		Properties json.RawMessage `json:"properties"`
	}
	if err := json.Unmarshal(raw, &top); err != nil || top.Properties == nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(top.Properties))
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	var names []string
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		names = append(names, key.(string))
		var skip json.RawMessage
		if err := dec.Decode(&skip); err != nil {
			return nil, err
		}
	}
	return names, nil
}

func (c *catalogue) parseChannels(raw []byte) error {
	var doc struct {
		Events yaml.Node `yaml:"events"`
	}
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return fmt.Errorf("channels.yaml: %w", err)
	}
	for i := 0; i+1 < len(doc.Events.Content); i += 2 {
		var ch channel
		if err := doc.Events.Content[i+1].Decode(&ch); err != nil {
			return fmt.Errorf("channels.yaml: %w", err)
		}
		ch.Type = doc.Events.Content[i].Value
		if err := c.checkChannel(ch); err != nil {
			return fmt.Errorf("channels.yaml: %s: %w", ch.Type, err)
		}
		c.channels = append(c.channels, ch)
	}
	return nil
}

func (c *catalogue) checkChannel(ch channel) error {
	parts := strings.Split(ch.Type, ".")
	switch {
	case len(parts) != 5 || parts[0] != "io" || parts[1] != "freshet":
		return fmt.Errorf("a type is io.freshet.<owner>.v<n>.<name>")
	case parts[2] != ch.Owner:
		return fmt.Errorf("its owner is %q", ch.Owner)
	case ch.Kind != "fact" && ch.Kind != "decision":
		return fmt.Errorf("its kind is %q, neither fact nor decision", ch.Kind)
	case c.schemas[ch.path()] == nil:
		return fmt.Errorf("there is no schema at %s", ch.path())
	}
	return nil
}

// path is where a type's schema is: io.freshet.<owner>.v1.<name> is <owner>/v1/<name>.json.
func (ch channel) path() string {
	parts := strings.Split(ch.Type, ".")
	return path.Join(parts[2], parts[3], parts[4]+".json")
}

func (ch channel) name() string { return ch.Type[strings.LastIndexByte(ch.Type, '.')+1:] }

// constant is the name of the Go constant that holds the type. Types whose
// payload every service shares carry their owner's name.
func (c *catalogue) constant(ch channel) string {
	if c.schemas[ch.path()].Ref != "" {
		return "Type" + goname.Of(ch.Owner) + goname.Of(ch.name())
	}
	return "Type" + goname.Of(ch.name())
}

// payload is the name of the Go type of a type's payload.
func (c *catalogue) payload(ch channel) string {
	if s := c.schemas[ch.path()]; s.Ref != "" {
		return refName(s.Ref)
	}
	return refName(ch.path())
}

// structs are the paths of the schemas that are Go types of their own, sorted.
func (c *catalogue) structs() []string {
	var paths []string
	for p, s := range c.schemas {
		if s.Ref == "" {
			paths = append(paths, p)
		}
	}
	sort.Strings(paths)
	return paths
}

// services are the owners, sorted.
func (c *catalogue) services() []string {
	seen := map[string]bool{}
	var names []string
	for _, ch := range c.channels {
		if !seen[ch.Owner] {
			seen[ch.Owner] = true
			names = append(names, ch.Owner)
		}
	}
	sort.Strings(names)
	return names
}
