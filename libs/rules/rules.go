// Package rules evaluates rules written in CEL over named maps of numbers.
//
// An evaluation is a function of the rule and the numbers alone, the same on every
// machine and release: maps iterate in the order of their keys, the cost is bounded
// by a constant, and what the evaluator says about an error is dropped. A rule that
// does not compile, gives no boolean, costs too much or reads a number that is not
// there has failed to evaluate.
package rules

import (
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
)

// costLimit bounds one rule: far above any honest one, far below a second.
const costLimit = 100_000

// A Variable is a map of numbers that rules may name.
type Variable struct {
	name     string
	nullable bool
}

// Map is a variable that is always there.
func Map(name string) Variable { return Variable{name: name} }

// Nullable is a variable that is null where its map is nil.
func Nullable(name string) Variable { return Variable{name: name, nullable: true} }

// Maps are what a rule sees, by the variable's name.
type Maps map[string]map[string]float64

// A Result of one rule.
type Result struct {
	True   bool
	Failed bool               // to evaluate
	Values map[string]float64 // the numbers that the rule names and that are there, as "live.auc"
	Names  []string           // all that it names, sorted
}

// Evaluator evaluates rules over a fixed set of variables. It is safe for concurrent use.
type Evaluator struct {
	env       *cel.Env
	variables []Variable
}

// New returns an evaluator of rules over these variables.
func New(variables ...Variable) (*Evaluator, error) {
	options := []cel.EnvOption{cel.CrossTypeNumericComparisons(true)} // candidate.auc > 1
	for _, v := range variables {
		typ := cel.MapType(cel.StringType, cel.DoubleType)
		if v.nullable {
			typ = cel.DynType
		}
		options = append(options, cel.Variable(v.name, typ))
	}
	env, err := cel.NewEnv(options...)
	if err != nil {
		return nil, err
	}
	return &Evaluator{env: env, variables: variables}, nil
}

// Evaluate evaluates one rule.
func (v *Evaluator) Evaluate(rule string, m Maps) Result {
	res := Result{Values: map[string]float64{}}
	compiled, issues := v.env.Compile(rule)
	if issues.Err() != nil {
		res.Failed = true
		return res
	}
	v.name(compiled, m, &res)
	program, err := v.env.Program(compiled, cel.CostLimit(costLimit))
	if err != nil {
		res.Failed = true
		return res
	}
	vars := make(map[string]any, len(v.variables))
	for _, variable := range v.variables {
		numbers := m[variable.name]
		if variable.nullable && numbers == nil {
			vars[variable.name] = types.NullValue
			continue
		}
		vars[variable.name] = sorted(numbers)
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

// name notes which numbers a rule names, by their path: "candidate.auc".
func (v *Evaluator) name(compiled *cel.Ast, m Maps, res *Result) {
	ast.PostOrderVisit(compiled.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		variable, field, ok := reference(e)
		if !ok || !slices.ContainsFunc(v.variables, func(known Variable) bool { return known.name == variable }) {
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
