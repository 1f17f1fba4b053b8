package main

import (
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"regexp"
	"strings"

	"golang.org/x/tools/go/packages"
)

// whole are packages of which a fold may name nothing.
var whole = map[string]string{
	"math/rand": "randomness", "math/rand/v2": "randomness", "crypto/rand": "randomness",
	"net": "the network", "net/http": "the network", "net/smtp": "the network", "net/rpc": "the network",
	"os": "files and the environment", "os/exec": "processes", "os/user": "the machine", "os/signal": "signals", "io/ioutil": "files",
	"syscall": "the machine", "runtime": "the machine", "plugin": "files", "database/sql": "another database",
	module + "libs/clock": "a clock", module + "libs/objects": "files", module + "libs/kafka": "the network",
	module + "libs/duckdb": "another database", module + "libs/postgres": "processes", module + "libs/web": "the network",
	module + "libs/natsserver": "the network", module + "libs/kafkaserver": "the network",
	"github.com/jackc/pgx/v5/pgxpool": "another connection", "github.com/nats-io/nats.go": "the network",
	"github.com/nats-io/nats.go/jetstream": "the network", "github.com/segmentio/kafka-go": "the network",
}

// single are functions that a fold may not name, of packages that it may use.
var single = map[string]string{
	"time.Now": "a clock", "time.Since": "a clock", "time.Until": "a clock", "time.After": "a clock", "time.AfterFunc": "a clock",
	"time.Tick": "a clock", "time.NewTimer": "a clock", "time.NewTicker": "a clock", "time.Sleep": "a clock",
	"time.LoadLocation":   "files of time zones",
	"(time.Time).Local":   "the machine's time zone",
	"context.WithTimeout": "a clock", "context.WithDeadline": "a clock",
	"github.com/google/uuid.New": "randomness", "github.com/google/uuid.NewString": "randomness", "github.com/google/uuid.NewRandom": "randomness",
	"github.com/google/uuid.NewUUID": "a clock", "github.com/google/uuid.NewV6": "a clock", "github.com/google/uuid.NewV7": "a clock",
	"path/filepath.Abs": "files", "path/filepath.Glob": "files", "path/filepath.Walk": "files", "path/filepath.WalkDir": "files",
	"path/filepath.EvalSymlinks": "files",
	"maphash.String":             "randomness", "hash/maphash.String": "randomness", "hash/maphash.Bytes": "randomness", "hash/maphash.MakeSeed": "randomness",
	"(reflect.Value).MapKeys": "the order of a map", "(reflect.Value).MapRange": "the order of a map",
	"(github.com/jackc/pgx/v5.Tx).Exec": "writes beside the fold",
}

// forbidden says why a fold may not name a function; "" where it may.
func forbidden(path string, fn *types.Func) string {
	name := fn.FullName()
	if what, ok := whole[path]; ok {
		return name + ": a fold depends on nothing but the log, not on " + what
	}
	if what, ok := single[name]; ok {
		return name + ": a fold depends on nothing but the log, not on " + what
	}
	return ""
}

// An analyzer looks at one body.
type analyzer struct {
	c        *checker
	service  string
	p        *packages.Package
	deciding bool
	// Generated code goes over a map to ask whether one of its values is wrong;
	// which one it names first does not enter a fold.
	generated bool
	sorted    map[ast.Node]bool // calls of maps.Keys and the like whose order does not matter
}

func (j *analyzer) look(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GoStmt:
		j.c.find(j.p, n.Pos(), "go: a fold runs in one order")
	case *ast.SelectStmt:
		j.c.find(j.p, n.Pos(), "select: a fold runs in one order")
	case *ast.RangeStmt:
		if t := j.p.TypesInfo.TypeOf(n.X); t != nil {
			if _, ok := t.Underlying().(*types.Map); ok && !orderless(n) && !j.generated {
				j.c.find(j.p, n.Pos(), "range over a map: its order is random; go over slices.Sorted(maps.Keys(m))")
			}
		}
	case *ast.CallExpr:
		if calledName(j.p, n) == eventlog+".NewFold" {
			return false // its tables are judged where they are read
		}
		j.call(n)
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			for _, to := range n.Lhs {
				j.write(to)
			}
		}
	case *ast.IncDecStmt:
		j.write(n.X)
	case *ast.Ident:
		if v, ok := j.p.TypesInfo.Uses[n].(*types.Var); ok && v.Pkg() != nil {
			switch v.Pkg().Path() + "." + v.Name() {
			case "time.Local":
				j.c.find(j.p, n.Pos(), "time.Local: a fold depends on nothing but the log, not on the machine's time zone")
			case "os.Args", "os.Stdin":
				j.c.find(j.p, n.Pos(), "os."+v.Name()+": a fold depends on nothing but the log")
			case "crypto/rand.Reader":
				j.c.find(j.p, n.Pos(), "crypto/rand.Reader: a fold depends on nothing but the log, not on randomness")
			}
		}
	case ast.Expr:
		return j.text(n)
	}
	if e, ok := n.(ast.Expr); ok {
		return j.text(e)
	}
	return true
}

// call judges what iterates over a map: its order must not matter.
func (j *analyzer) call(n *ast.CallExpr) {
	if j.sorted == nil {
		j.sorted = map[ast.Node]bool{}
	}
	switch name := calledName(j.p, n); name {
	case "slices.Sorted", "slices.SortedFunc", "maps.Collect", "maps.Insert":
		for _, a := range n.Args {
			j.sorted[ast.Unparen(a)] = true
		}
	case "maps.Keys", "maps.Values", "maps.All":
		if !j.sorted[n] {
			j.c.find(j.p, n.Pos(), name+": the order of a map is random; sort it")
		}
	case "slices.SortedStableFunc":
		j.c.find(j.p, n.Pos(), name+": equals stay in the order they came in")
	}
}

// orderless says whether a loop over a map does the same in every order: it only
// fills or empties maps, or counts.
func orderless(n *ast.RangeStmt) bool {
	for _, s := range n.Body.List {
		switch s := s.(type) {
		case *ast.AssignStmt:
			for _, to := range s.Lhs {
				if _, ok := ast.Unparen(to).(*ast.IndexExpr); !ok {
					return false
				}
			}
		case *ast.IncDecStmt:
		case *ast.ExprStmt:
			call, ok := s.X.(*ast.CallExpr)
			if !ok {
				return false
			}
			if id, ok := call.Fun.(*ast.Ident); !ok || id.Name != "delete" {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// write judges an assignment: what a fold remembers is in its tables.
func (j *analyzer) write(to ast.Expr) {
	for {
		switch e := ast.Unparen(to).(type) {
		case *ast.IndexExpr:
			to = e.X
			continue
		case *ast.StarExpr:
			to = e.X
			continue
		case *ast.SelectorExpr:
			if v, ok := j.p.TypesInfo.Uses[e.Sel].(*types.Var); ok && v.IsField() {
				to = e.X
				continue
			}
		}
		break
	}
	if v, ok := used(j.p, to).(*types.Var); ok && v.Pkg() != nil && v.Parent() == v.Pkg().Scope() {
		j.c.find(j.p, to.Pos(), "the package variable "+v.Name()+" is written: a fold remembers in its tables only")
	}
}

var statement = regexp.MustCompile(`(?is)^\s*(SELECT|INSERT\s+INTO|UPDATE\s+\w+\s|DELETE\s+FROM|WITH\s+\w+\s+AS|` +
	`CREATE|ALTER|DROP|TRUNCATE|COPY|CALL|DO|LOCK|SET|NOTIFY|LISTEN)\b`)

// text judges SQL: the largest constant expressions that are statements. What is
// put together when it runs cannot be judged.
func (j *analyzer) text(e ast.Expr) bool {
	if v := j.p.TypesInfo.Types[e].Value; v != nil {
		if s := constantText(v); statement.MatchString(s) {
			j.statement(e, s)
		}
		return false // its parts are part of it
	}
	if b, ok := e.(*ast.BinaryExpr); ok && b.Op == token.ADD {
		for _, part := range []ast.Expr{b.X, b.Y} {
			if v := j.p.TypesInfo.Types[part].Value; v != nil && statement.MatchString(constantText(v)) {
				j.c.find(j.p, e.Pos(), "SQL that is put together when it runs cannot be judged; write it out as constants")
				return false
			}
		}
	}
	return true
}

func (j *analyzer) statement(e ast.Expr, sql string) {
	t := j.c.tables[j.service]
	if t == nil {
		return
	}
	j.c.sql++
	for _, w := range checkSQL(sql, t, j.deciding) {
		j.c.find(j.p, e.Pos(), w)
	}
}

func constantText(v constant.Value) string {
	if v.Kind() != constant.String {
		return ""
	}
	return strings.TrimSpace(constant.StringVal(v))
}
