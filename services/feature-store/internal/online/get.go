package online

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/duckdb"
	"github.com/freshet-io/freshet/libs/parquet"
	"github.com/freshet-io/freshet/services/feature-store/internal/compute"
	"github.com/freshet-io/freshet/services/feature-store/internal/wire"
)

// A Query asks for features of a batch of entities.
type Query struct {
	Namespace string
	Entities  map[string]json.RawMessage // columns: join keys and request columns
	Features  []Reference
	AsOf      *time.Time
}

// A Reference names one feature; Version 0 is the view's newest.
type Reference struct {
	View    string
	Version int64
	Feature string
}

// An Answer has one Values for each feature asked for, in that order, and the join
// keys that were used.
type Answer struct {
	Rows     int
	JoinKeys []string // names in Query.Entities
	Features []Values
}

// Errors of a query, each with what it names.
type (
	// UnknownViewError: there is no such view, or not in this version.
	UnknownViewError struct {
		View    string
		Version int64
	}
	// UnknownFeatureError: the view has no such feature.
	UnknownFeatureError struct{ View, Feature string }
	// MissingKeysError: entities lacks join keys.
	MissingKeysError struct{ Keys []string }
	// MissingRequestError: entities lacks columns that an on-demand view reads.
	MissingRequestError struct{ View, Detail string }
	// InvalidError: the query contradicts itself or has values of wrong types.
	InvalidError struct{ Err error }
)

func (e *UnknownViewError) Error() string {
	if e.Version > 0 {
		return fmt.Sprintf("Version %d of feature view %s does not exist", e.Version, e.View)
	}
	return fmt.Sprintf("Feature view %s does not exist", e.View)
}

func (e *UnknownFeatureError) Error() string {
	return fmt.Sprintf("Feature view %s has no feature %s", e.View, e.Feature)
}

func (e *MissingKeysError) Error() string {
	return fmt.Sprintf("Missing join key values for keys: %s", strings.Join(e.Keys, ", "))
}

func (e *MissingRequestError) Error() string {
	return fmt.Sprintf("Required request data not found in the entity rows, but required by feature view %s: %s", e.View, e.Detail)
}

func (e *InvalidError) Error() string { return e.Err.Error() }

func (e *InvalidError) Unwrap() error { return e.Err }

// Get evaluates a query as of its instant, or of now.
func (s *Store) Get(ctx context.Context, q *Query) (*Answer, error) {
	select {
	case <-s.filled:
	default:
		return nil, ErrNotReady
	}
	at := s.clock.Now().UnixMicro()
	if q.AsOf != nil {
		at = q.AsOf.UnixMicro()
	}
	c := s.Catalog()
	g := &getter{store: s, catalog: c, query: q, at: at, columns: map[string][]any{}, views: map[*compute.View][]Values{}}
	if err := g.size(); err != nil {
		return nil, err
	}
	a := &Answer{Rows: g.rows, Features: make([]Values, len(q.Features))}
	for i, ref := range q.Features {
		v, known := c.View(q.Namespace, ref.View, ref.Version)
		if v == nil {
			version := int64(0)
			if known {
				version = ref.Version
			}
			return nil, &UnknownViewError{ref.View, version}
		}
		f := v.Feature(ref.Feature)
		if f < 0 {
			return nil, &UnknownFeatureError{ref.View, ref.Feature}
		}
		values, err := g.view(ctx, v)
		if err != nil {
			return nil, err
		}
		a.Features[i] = values[f]
	}
	a.JoinKeys = g.joinKeys
	return a, nil
}

type getter struct {
	store    *Store
	catalog  *Catalog
	query    *Query
	at       int64
	rows     int
	joinKeys []string
	columns  map[string][]any // decoded
	views    map[*compute.View][]Values
}

// size checks that all columns are equally long. Columns nobody reads are only
// counted.
func (g *getter) size() error {
	g.rows = -1
	for name, raw := range g.query.Entities {
		n, err := count(raw)
		if err != nil {
			return &InvalidError{fmt.Errorf("entities: %s: %w", name, err)}
		}
		if g.rows >= 0 && n != g.rows {
			//nolint:staticcheck,revive // Feast's words
			return &InvalidError{fmt.Errorf("All entity rows must have the same columns: %s has %d values, others have %d", name, n,
				g.rows)}
		}
		g.rows = n
	}
	if g.rows < 0 {
		return &InvalidError{errors.New("entities must have at least one column")}
	}
	return nil
}

// count is the length of a JSON array of scalars. The body is valid JSON.
func count(raw json.RawMessage) (int, error) {
	if len(raw) == 0 || raw[0] != '[' {
		return 0, errors.New("it must be a list of values")
	}
	n, text, something := 0, false, false
	for i := 1; i < len(raw); i++ {
		c := raw[i]
		switch {
		case text && c == '\\':
			i++
		case c == '"':
			text, something = !text, true
		case text:
		case c == ',':
			n++
		case c == '[' || c == '{':
			return 0, errors.New("its values must be scalars")
		case c == ']' && i == len(raw)-1, c == ' ', c == '\n', c == '\t', c == '\r':
		default:
			something = true
		}
	}
	if something {
		n++
	}
	return n, nil
}

func (g *getter) view(ctx context.Context, v *compute.View) ([]Values, error) {
	if values, ok := g.views[v]; ok {
		return values, nil
	}
	var values []Values
	var err error
	if v.Plan == nil {
		values, err = g.onDemand(ctx, v)
	} else {
		values, err = g.windowed(v)
	}
	g.views[v] = values
	return values, err
}

func (g *getter) windowed(v *compute.View) ([]Values, error) {
	rows := g.store.viewRows(viewID{g.query.Namespace, v.Name, v.Version})
	if rows == nil {
		return nil, ErrNotReady
	}
	if g.at-v.Plan.Window < rows.horizonNow() {
		return nil, &InvalidError{ErrTooOld}
	}
	var missing []string
	columns := make([][]any, len(v.Spec.Entity))
	for i, e := range v.Spec.Entity {
		name := e.Key
		if _, ok := g.query.Entities[name]; !ok { // the request may have the column under the dataset's name
			name = e.Column
		}
		if _, ok := g.query.Entities[name]; !ok {
			missing = append(missing, e.Key)
			continue
		}
		var err error
		if columns[i], err = g.column(name); err != nil {
			return nil, err
		}
		g.join(name)
	}
	if len(missing) > 0 {
		return nil, &MissingKeysError{missing}
	}
	entities := make([]string, g.rows)
	var b strings.Builder
	for row := range entities {
		b.Reset()
		for i := range columns {
			text, ok := wire.Text(columns[i][row])
			if !ok { // no entity: found nowhere
				b.Reset()
				break
			}
			if len(columns) == 1 {
				entities[row] = text
				break
			}
			if i > 0 {
				b.WriteString(compute.KeySeparator)
			}
			b.WriteString(text)
		}
		if len(columns) > 1 {
			entities[row] = b.String()
		}
	}
	return rows.at(entities, g.at), nil
}

func (g *getter) join(name string) {
	for _, k := range g.joinKeys {
		if k == name {
			return
		}
	}
	g.joinKeys = append(g.joinKeys, name)
}

func (g *getter) column(name string) ([]any, error) {
	if c, ok := g.columns[name]; ok {
		return c, nil
	}
	c, err := wire.Values(name, g.query.Entities[name])
	if err != nil {
		return nil, &InvalidError{err}
	}
	g.columns[name] = c
	return c, nil
}

func (g *getter) onDemand(ctx context.Context, v *compute.View) ([]Values, error) {
	var columns []compute.RequestColumn
	for _, name := range slices.Sorted(maps.Keys(g.query.Entities)) {
		raw, field := g.query.Entities[name], events.TypedField{Name: name}
		if len(v.Request([]events.TypedField{field})) == 0 {
			continue
		}
		field.Type, _ = g.catalog.FieldType(g.query.Namespace, v, name)
		c, err := wire.Column(name, raw, field.Type)
		if err != nil {
			return nil, &InvalidError{err}
		}
		field.Type = typeOf(c.Kind)
		columns = append(columns, compute.RequestColumn{Field: field, Values: boxed(&c)})
	}
	numbers, err := g.store.onDemand.Eval(ctx, v, columns, g.rows)
	if err != nil {
		return nil, requestError(v, err)
	}
	out := make([]Values, len(numbers))
	for f := range numbers {
		out[f] = Values{numbers[f], make([]Status, g.rows), make([]int64, g.rows)}
		for i, x := range numbers[f] {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				numbers[f][i], out[f].Statuses[i] = v.Defaults[f], NullValue
			}
		}
	}
	return out, nil
}

func typeOf(k parquet.Kind) string { return k.String() }

func boxed(c *parquet.Column) []any {
	out := make([]any, c.Len())
	for i := range out {
		if c.Kind == parquet.Time && c.Has(i) {
			out[i] = time.UnixMicro(c.Times[i]).UTC()
			continue
		}
		out[i] = c.Value(i)
	}
	return out
}

// requestError tells a column that is not in the request from values that do not fit.
func requestError(v *compute.View, err error) error {
	var e *duckdb.Error
	if !errors.As(err, &e) || !e.UsersFault() {
		return err
	}
	if e.Kind == duckdb.Unknown {
		return &MissingRequestError{v.Name, e.Message}
	}
	return &InvalidError{err}
}
