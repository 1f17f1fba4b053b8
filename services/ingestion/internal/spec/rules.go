package spec

import (
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"github.com/freshet-io/freshet/events"
	"go.yaml.in/yaml/v4"
)

// scope is what a kind of rule can speak of: variables, each a map of numbers,
// and the names in them.
type scope struct {
	variables map[string][]string
	order     []string
	nullable  string // a variable that is null until something is live
}

func gateScope(task string) scope {
	metrics := metricsOf[task]
	return scope{order: []string{"candidate", "champion", "naive"}, nullable: "champion",
		variables: map[string][]string{"candidate": metrics, "champion": metrics, "naive": metrics}}
}

var canaryMeasures = []string{"error_rate", "p50_ms", "p99_ms", "prediction_mean", "prediction_psi", "requests"}

func canaryScope() scope {
	return scope{order: []string{"candidate", "champion"}, variables: map[string][]string{"candidate": canaryMeasures, "champion": canaryMeasures}}
}

func liveScope(task string) scope {
	label := "label_rate"
	if task == "regression" {
		label = "label_mean"
	}
	return scope{order: []string{"live"}, variables: map[string][]string{
		"live": slices.Concat(qualityOf[task], []string{label, "error_rate", "p50_ms", "p99_ms", "requests"})}}
}

func (s scope) env() (*cel.Env, error) {
	var options []cel.EnvOption
	for _, name := range s.order {
		t := cel.MapType(cel.StringType, cel.DoubleType)
		if name == s.nullable {
			t = cel.DynType
		}
		options = append(options, cel.Variable(name, t))
	}
	return cel.NewEnv(append(options, cel.CrossTypeNumericComparisons(true))...)
}

// sample is a made-up measurement that has every name.
func (s scope) sample(null bool) map[string]any {
	out := map[string]any{}
	for _, name := range s.order {
		m := map[string]float64{}
		for i, k := range s.variables[name] {
			m[k] = 0.5 + float64(i)
		}
		out[name] = m
	}
	if null {
		out[s.nullable] = nil
	}
	return out
}

// rules reads named CEL rules and checks that each is true or false whatever it
// will be asked about.
func (p *parser) rules(x value, what string, s scope) []events.Rule {
	entries, _ := x.entries()
	var out []events.Rule
	env, err := s.env()
	if err != nil {
		x.problem("rules cannot be checked: "+err.Error(), "remove the rules")
		return nil
	}
	for _, e := range entries {
		if !e.keyIdent(what) {
			continue
		}
		if n := e.value.node(); n.Kind == yaml.ScalarNode && n.ShortTag() == "!!bool" {
			e.value.problem(e.value.name()+" is "+n.Value+", not a rule", "write a comparison, such as "+s.example())
			continue
		}
		text, ok := e.value.text()
		if ok && p.rule(env, e.value, text, s) {
			out = append(out, events.Rule{Name: e.key, CEL: text})
		}
	}
	return out
}

func (s scope) example() string {
	return s.order[0] + "." + s.variables[s.order[0]][0] + " > 0.6"
}

func (p *parser) rule(env *cel.Env, v value, text string, s scope) bool {
	parsed, issues := env.Parse(text)
	if issues.Err() != nil {
		e := issues.Errors()[0]
		v.r.add(v.n.Line, v.at(e.Location.Column()), v.path, "this rule cannot be read: "+firstLine(e.Message), "write a CEL comparison, such as "+s.example())
		return false
	}
	if !p.names(parsed, v, s) {
		return false
	}
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		e := issues.Errors()[0]
		fix := "write a CEL comparison, such as " + s.example()
		if strings.Contains(e.Message, "(double, int)") || strings.Contains(e.Message, "(int, double)") {
			fix = "write whole numbers in sums with a decimal point, such as 1.0"
		}
		v.r.add(v.n.Line, v.at(e.Location.Column()), v.path, "this rule does not compute: "+firstLine(e.Message), fix)
		return false
	}
	if t := checked.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		v.problem(fmt.Sprintf("this rule gives a %s, not true or false", t), "compare it with something, such as "+s.example())
		return false
	}
	program, err := env.Program(checked, cel.CostLimit(10000))
	if err != nil {
		v.problem("this rule does not compute: "+firstLine(err.Error()), "write a CEL comparison, such as "+s.example())
		return false
	}
	result, _, err := program.Eval(s.sample(false))
	if err != nil {
		v.problem("this rule does not compute: "+firstLine(err.Error()), "write whole numbers in sums with a decimal point, such as 1.0")
		return false
	}
	if _, ok := result.Value().(bool); !ok {
		v.problem("this rule is not true or false", "compare it with something, such as "+s.example())
		return false
	}
	if s.nullable != "" {
		if _, _, err := program.Eval(s.sample(true)); err != nil {
			v.problem(fmt.Sprintf("%s is null until a first version is live, and this rule then fails", s.nullable),
				fmt.Sprintf("write %s == null || %s", s.nullable, text))
			return false
		}
	}
	return true
}

// names checks every variable and every field that a rule speaks of.
func (p *parser) names(parsed *cel.Ast, v value, s scope) bool {
	good := true
	native := parsed.NativeRep()
	bad := func(id int64, message, fix string) {
		if !good {
			return // one slip at a time: the next may follow from it
		}
		good = false
		column := 0
		if at := native.SourceInfo().GetStartLocation(id); at.Column() >= 0 {
			column = v.at(at.Column())
		}
		v.r.add(v.n.Line, column, v.path, message, fix)
	}
	local := map[string]bool{} // variables of comprehensions
	ast.PreOrderVisit(native.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.ComprehensionKind {
			c := e.AsComprehension()
			local[c.IterVar()], local[c.AccuVar()] = true, true
		}
	}))
	ast.PreOrderVisit(native.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.IdentKind:
			name := e.AsIdent()
			if _, ok := s.variables[name]; !ok && !local[name] {
				fix := "this rule can speak of " + strings.Join(s.order, ", ")
				if near := nearest(name, s.order); near != "" {
					fix = fmt.Sprintf("write %s instead", near)
				}
				bad(e.ID(), fmt.Sprintf("there is no %q here", name), fix)
			}
		case ast.SelectKind:
			sel := e.AsSelect()
			if sel.Operand().Kind() != ast.IdentKind {
				return
			}
			variable := sel.Operand().AsIdent()
			names, ok := s.variables[variable]
			if !ok || contains(names, sel.FieldName()) {
				return
			}
			fix := variable + " has " + strings.Join(names, ", ")
			if near := nearest(sel.FieldName(), names); near != "" {
				fix = fmt.Sprintf("write %s.%s instead", variable, near)
			}
			bad(e.ID(), fmt.Sprintf("%s has no %q", variable, sel.FieldName()), fix)
		}
	}))
	return good
}

// at is the column in the file of a column in a rule.
func (v value) at(column int) int {
	n := v.node()
	switch {
	case v.n.Kind == yaml.AliasNode || n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return v.n.Column
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		return n.Column + 1 + column
	}
	return n.Column + column
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return strings.TrimSpace(s)
}
