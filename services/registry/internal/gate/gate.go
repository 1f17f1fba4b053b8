// Package gate evaluates the rules that a candidate must pass, written in CEL over
// the maps candidate, champion (null where there is none) and naive.
//
// An evaluation is a function of the rule and the numbers alone: maps iterate in the
// order of their keys, the cost is bounded by a constant, and what the evaluator says
// about an error is dropped, so that the same candidate is judged the same on every
// machine and release. A rule that does not compile, does not give a boolean, costs
// too much or reads a number that is not there has failed to evaluate.
package gate

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"github.com/freshet-io/freshet/events"
)

// costLimit bounds one rule: far above any honest one, far below a second.
const costLimit = 100_000

// Metrics are what a gate sees. Champion is nil where there is none.
type Metrics struct {
	Candidate, Champion, Naive map[string]float64
}

// An Evaluator evaluates gates. It is safe for concurrent use.
type Evaluator struct{ env *cel.Env }

// New returns an evaluator.
func New() (*Evaluator, error) {
	metrics := cel.MapType(cel.StringType, cel.DoubleType)
	env, err := cel.NewEnv(
		cel.Variable("candidate", metrics),
		cel.Variable("champion", cel.DynType), // may be null
		cel.Variable("naive", metrics),
		cel.CrossTypeNumericComparisons(true), // candidate.auc > 1
	)
	if err != nil {
		return nil, err
	}
	return &Evaluator{env: env}, nil
}

// Evaluate judges every rule, in order, and reports whether all of them passed.
func (v *Evaluator) Evaluate(rules []events.Rule, m Metrics) ([]events.GateResult, bool) {
	results := make([]events.GateResult, 0, len(rules))
	all := true
	for _, r := range rules {
		res := v.evaluate(r, m)
		all = all && res.Passed
		results = append(results, res)
	}
	return results, all
}

func (v *Evaluator) evaluate(r events.Rule, m Metrics) events.GateResult {
	res := events.GateResult{Name: r.Name, CEL: r.CEL, Values: map[string]float64{}}
	compiled, issues := v.env.Compile(r.CEL)
	if issues.Err() != nil {
		res.FailedToEvaluate = true
		return res
	}
	res.Values = seen(compiled, m)
	program, err := v.env.Program(compiled, cel.CostLimit(costLimit))
	if err != nil {
		res.FailedToEvaluate = true
		return res
	}
	vars := map[string]any{
		"candidate": sorted(m.Candidate),
		"naive":     sorted(m.Naive),
		"champion":  types.NullValue,
	}
	if m.Champion != nil {
		vars["champion"] = sorted(m.Champion)
	}
	out, _, err := program.Eval(vars)
	if err != nil {
		res.FailedToEvaluate = true
		return res
	}
	passed, ok := out.(types.Bool)
	res.FailedToEvaluate = !ok
	res.Passed = ok && bool(passed)
	return res
}

// seen are the numbers that a rule names, by their path: "candidate.auc".
func seen(compiled *cel.Ast, m Metrics) map[string]float64 {
	sources := map[string]map[string]float64{"candidate": m.Candidate, "champion": m.Champion, "naive": m.Naive}
	values := map[string]float64{}
	visit := func(e ast.Expr) {
		operand, field, ok := reference(e)
		if !ok {
			return
		}
		if value, ok := sources[operand][field]; ok {
			values[operand+"."+field] = value
		}
	}
	ast.PostOrderVisit(compiled.NativeRep().Expr(), ast.NewExprVisitor(visit))
	return values
}

// reference reads candidate.auc and candidate["auc"].
func reference(e ast.Expr) (operand, field string, ok bool) {
	switch e.Kind() {
	case ast.SelectKind:
		s := e.AsSelect()
		if s.Operand().Kind() == ast.IdentKind {
			return s.Operand().AsIdent(), s.FieldName(), true
		}
	case ast.CallKind:
		c := e.AsCall()
		if c.FunctionName() != "_[_]" || len(c.Args()) != 2 {
			return "", "", false
		}
		if c.Args()[0].Kind() == ast.IdentKind && c.Args()[1].Kind() == ast.LiteralKind {
			if s, isString := c.Args()[1].AsLiteral().(types.String); isString {
				return c.Args()[0].AsIdent(), string(s), true
			}
		}
	}
	return "", "", false
}
