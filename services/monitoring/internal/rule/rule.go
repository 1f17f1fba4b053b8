// Package rule evaluates a model's rules, written in CEL over maps of numbers:
// rollback_if over candidate and champion, alarms over live.
//
// An evaluation is a function of the rule and the numbers alone: maps iterate in
// the order of their keys, the cost is bounded, and the evaluator's own words
// about an error are dropped. A rule that does not compile, gives no boolean,
// costs too much or reads a number that is not there has failed to evaluate.
package rule

import (
	"maps"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"github.com/freshet-io/freshet/events"
)

const costLimit = 100_000

// Maps are what a rule sees, by the variable's name.
type Maps map[string]map[string]float64

// A Result of one rule.
type Result struct {
	Rule   events.Rule
	True   bool
	Failed bool               // to evaluate
	Values map[string]float64 // the numbers that the rule names and that are there, as "live.auc"
	Names  []string           // all that it names, sorted
}

// Evaluator evaluates rules over a fixed set of variables. It is safe for concurrent use.
type Evaluator struct {
	env       *cel.Env
	variables []string
}

// New returns an evaluator of rules over these variables.
func New(variables ...string) (*Evaluator, error) {
	options := []cel.EnvOption{cel.CrossTypeNumericComparisons(true)}
	for _, v := range variables {
		options = append(options, cel.Variable(v, cel.MapType(cel.StringType, cel.DoubleType)))
	}
	env, err := cel.NewEnv(options...)
	return &Evaluator{env: env, variables: variables}, err
}

// Evaluate evaluates one rule.
func (v *Evaluator) Evaluate(r events.Rule, m Maps) Result {
	res := Result{Rule: r, Values: map[string]float64{}}
	compiled, issues := v.env.Compile(r.CEL)
	if issues.Err() != nil {
		res.Failed = true
		return res
	}
	ast.PostOrderVisit(compiled.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		variable, field, ok := reference(e)
		if !ok || !slices.Contains(v.variables, variable) {
			return
		}
		name := variable + "." + field
		res.Names = append(res.Names, name)
		if x, there := m[variable][field]; there {
			res.Values[name] = x
		}
	}))
	slices.Sort(res.Names)
	res.Names = slices.Compact(res.Names)
	program, err := v.env.Program(compiled, cel.CostLimit(costLimit))
	if err != nil {
		res.Failed = true
		return res
	}
	vars := make(map[string]any, len(v.variables))
	for _, name := range v.variables {
		vars[name] = sorted(m[name])
	}
	out, _, err := program.Eval(vars)
	if err != nil {
		res.Failed = true
		return res
	}
	b, isBool := out.(types.Bool)
	res.True, res.Failed = isBool && bool(b), !isBool
	return res
}

// reference reads live.auc and live["auc"].
func reference(e ast.Expr) (variable, field string, ok bool) {
	switch e.Kind() {
	case ast.SelectKind:
		if s := e.AsSelect(); s.Operand().Kind() == ast.IdentKind {
			return s.Operand().AsIdent(), s.FieldName(), true
		}
	case ast.CallKind:
		c := e.AsCall()
		if c.FunctionName() == "_[_]" && len(c.Args()) == 2 && c.Args()[0].Kind() == ast.IdentKind && c.Args()[1].Kind() == ast.LiteralKind {
			s, isString := c.Args()[1].AsLiteral().(types.String)
			return c.Args()[0].AsIdent(), string(s), isString
		}
	}
	return "", "", false
}

// sortedMap is a CEL map whose keys come in order; Go's own come in any.
type sortedMap struct {
	traits.Mapper
	keys []string
}

func sorted(m map[string]float64) sortedMap {
	if m == nil {
		m = map[string]float64{}
	}
	return sortedMap{Mapper: types.NewDynamicMap(types.DefaultTypeAdapter, m), keys: slices.Sorted(maps.Keys(m))}
}

// Iterator implements traits.Iterable.
func (m sortedMap) Iterator() traits.Iterator {
	return &iterator{Iterator: m.Mapper.Iterator(), keys: m.keys}
}

type iterator struct {
	traits.Iterator
	keys []string
	next int
}

// HasNext implements traits.Iterator.
func (i *iterator) HasNext() ref.Val { return types.Bool(i.next < len(i.keys)) }

// Next implements traits.Iterator.
func (i *iterator) Next() ref.Val {
	if i.next >= len(i.keys) {
		return nil
	}
	i.next++
	return types.String(i.keys[i.next-1])
}
