package main

import (
	"bytes"
	"fmt"
	"path"
	"sort"
	"strings"

	"github.com/freshet-io/freshet/contracts"
	"go.yaml.in/yaml/v4"
)

const (
	componentSchemas = "#/components/schemas/"
	localDefinitions = "#/$defs/"
)

// bundle holds the schemas of the AsyncAPI document: those that its messages name, and those
// that these refer to. What reads the document needs nothing else.
//
// A payload in AsyncAPI is JSON Schema of draft 7, where members beside a $ref count for
// nothing, there is no $defs, and a $id would be what the other references start from.
// So a $ref with members beside it becomes an allOf, definitions become schemas of the
// document, and the $id is kept as x-contract.
type bundle struct {
	c       *catalogue
	schemas map[string]*yaml.Node // by their name in the document
}

func newBundle(c *catalogue) *bundle { return &bundle{c: c, schemas: map[string]*yaml.Node{}} }

// component is the name of a contract's schema in the document: types.object.
func component(file string) string {
	parts := strings.Split(strings.TrimSuffix(file, ".json"), "/")
	if parts[1] == "v1" {
		parts = append(parts[:1], parts[2:]...)
	}
	return strings.Join(parts, ".")
}

// add adds the schema of a contract, with all that it refers to, and returns the reference
// to it.
func (b *bundle) add(file string) (string, error) {
	if s := b.c.schemas[file]; s != nil && s.Ref != "" { // what every service shares
		return b.reference(file, s.Ref)
	}
	name := component(file)
	if b.schemas[name] != nil {
		return componentSchemas + name, nil
	}
	raw := b.c.raw[file]
	if raw == nil {
		return "", fmt.Errorf("there is no contract %s", file)
	}
	var doc yaml.Node // JSON is YAML, and this keeps its order
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	root := doc.Content[0]
	b.schemas[name] = root
	remove(root, "$schema")
	if id := remove(root, "$id"); id != nil {
		set(root, "x-contract", id)
	}
	if definitions := remove(root, "$defs"); definitions != nil {
		for i := 0; i+1 < len(definitions.Content); i += 2 {
			b.schemas[name+"."+definitions.Content[i].Value] = definitions.Content[i+1]
			if err := b.rewrite(file, definitions.Content[i+1]); err != nil {
				return "", err
			}
		}
	}
	return componentSchemas + name, b.rewrite(file, root)
}

// reference is what a $ref of a contract's file is in the document.
func (b *bundle) reference(file, ref string) (string, error) {
	if definition, ok := strings.CutPrefix(ref, localDefinitions); ok {
		return componentSchemas + component(file) + "." + definition, nil
	}
	other, ok := strings.CutPrefix(ref, contracts.BaseURL)
	if !ok {
		return "", fmt.Errorf("%s: its $ref %q names no contract: refer to one by its $id", file, ref)
	}
	return b.add(path.Clean(other))
}

// rewrite makes the references in a schema those of the document.
func (b *bundle) rewrite(file string, n *yaml.Node) error {
	n.Style = 0
	if n.Kind == yaml.MappingNode {
		if ref := value(n, "$ref"); ref != nil && ref.Kind == yaml.ScalarNode {
			to, err := b.reference(file, ref.Value)
			if err != nil {
				return err
			}
			ref.Value = to
			for _, other := range n.Content {
				other.Style = 0
			}
			if len(n.Content) > 2 {
				remove(n, "$ref")
				set(n, "allOf", &yaml.Node{Kind: yaml.SequenceNode, Content: []*yaml.Node{mapping("$ref", ref)}})
			}
			return nil
		}
	}
	for _, inner := range n.Content {
		if err := b.rewrite(file, inner); err != nil {
			return err
		}
	}
	return nil
}

// names are those of the schemas, sorted.
func (b *bundle) names() []string {
	var all []string
	for name := range b.schemas {
		all = append(all, name)
	}
	sort.Strings(all)
	return all
}

// text is a schema's, indented.
func (b *bundle) text(name string, indent int) (string, error) {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(b.schemas[name]); err != nil {
		return "", fmt.Errorf("the schema %s: %w", name, err)
	}
	before := strings.Repeat("  ", indent)
	return before + strings.ReplaceAll(strings.TrimSuffix(out.String(), "\n"), "\n", "\n"+before) + "\n", nil
}

func value(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return n.Content[i+1]
		}
	}
	return nil
}

func remove(n *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			was := n.Content[i+1]
			n.Content = append(n.Content[:i:i], n.Content[i+2:]...)
			return was
		}
	}
	return nil
}

func set(n *yaml.Node, key string, to *yaml.Node) {
	n.Content = append(n.Content, mapping(key, to).Content...)
}

func mapping(key string, to *yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, to}}
}
