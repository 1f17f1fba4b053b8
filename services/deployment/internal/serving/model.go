// Package serving holds what is served: models in memory, one immutable snapshot
// of all environments, and the prediction itself. A request reads the snapshot
// once, without a lock.
package serving

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/onnx"
)

// ErrSignature means that a graph's inputs are not the columns that the version was trained on.
var ErrSignature = errors.New("the model does not take the version's columns")

// ErrObject means that the artifact cannot be read.
var ErrObject = errors.New("the artifact cannot be read")

const largestArtifact = 1 << 30

// Objects reads verified objects; *objects.Store is one.
type Objects interface {
	Get(ctx context.Context, digest string, limit int64) ([]byte, error)
}

// A Model in memory: a graph, and where its inputs stand among a version's columns.
type Model struct {
	graph   *onnx.Graph
	columns []string
	order   []int // graph input i is the version's column order[i]; nil: the same order
}

// Cache loads models and keeps those that are in use.
type Cache struct {
	objects Objects

	mu     sync.Mutex
	graphs map[string]*onnx.Graph // by the artifact's digest
}

// NewCache returns a cache over an object store.
func NewCache(objects Objects) *Cache {
	return &Cache{objects: objects, graphs: map[string]*onnx.Graph{}}
}

// Load returns a version's model: fetched, parsed, checked against the version's
// columns and warmed with one row.
func (c *Cache) Load(ctx context.Context, digest string, columns []events.FeatureColumn) (*Model, error) {
	c.mu.Lock()
	g := c.graphs[digest]
	c.mu.Unlock()
	if g == nil {
		b, err := c.objects.Get(ctx, digest, largestArtifact)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrObject, err)
		}
		if g, err = onnx.Load(b); err != nil {
			return nil, err
		}
	}
	m, err := bind(g, columns)
	if err != nil {
		return nil, err
	}
	if _, err := m.Score(make([]float64, len(columns)), 1); err != nil {
		return nil, fmt.Errorf("%w: a warming row: %w", ErrSignature, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.graphs[digest] = g
	return m, nil
}

// Keep forgets every model but these.
func (c *Cache) Keep(digests map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for d := range c.graphs {
		if !digests[d] {
			delete(c.graphs, d)
		}
	}
}

func bind(g *onnx.Graph, columns []events.FeatureColumn) (*Model, error) {
	m := &Model{graph: g, columns: make([]string, len(columns))}
	for i, c := range columns {
		m.columns[i] = c.Name
	}
	if n := g.Columns(); n > 0 && n != len(columns) {
		return nil, fmt.Errorf("%w: it takes %d columns, the version has %d", ErrSignature, n, len(columns))
	}
	names := g.ColumnNames()
	if names == nil || slices.Equal(names, m.columns) {
		return m, nil
	}
	if len(names) != len(columns) {
		return nil, fmt.Errorf("%w: it names %d columns, the version has %d", ErrSignature, len(names), len(columns))
	}
	for _, name := range names {
		at := slices.Index(m.columns, name)
		if at < 0 {
			return nil, fmt.Errorf("%w: the version has no column %q", ErrSignature, name)
		}
		m.order = append(m.order, at)
	}
	return m, nil
}

// Score scores rows given row by row in the order of the version's columns.
func (m *Model) Score(values []float64, rows int) ([]float64, error) {
	cols := len(m.columns)
	in := make([]float32, len(values))
	if m.order == nil {
		for i, v := range values {
			in[i] = float32(v)
		}
	} else {
		for r := range rows {
			for i, at := range m.order {
				in[r*cols+i] = float32(values[r*cols+at])
			}
		}
	}
	return m.graph.Score(in, rows, cols)
}
