// Command purity reads the folds of all services and refuses what would make
// them depend on anything but the log: clocks, randomness, network, files,
// goroutines, the order of a map, tables of others, queries whose order is not
// total, arithmetic on floats in SQL, columns that number themselves.
//
//	go run ./purity -root ../..
//
// It starts where handlers are registered (eventlog.Fold.Apply and Decide) and
// follows every function that can be reached from there within the repository,
// through interfaces and package variables too. A function of another module is
// judged by its package and name alone.
//
// What is right although it looks wrong is excused on its line, with a reason:
//
//	for k := range m { //purity:allow the entries go into another map
//
// It cannot see what a third-party function does inside, nor that a decision
// carries an error's text. Folding golden logs in several ways is the other half.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/freshet-io/freshet/libs/tools/services"
)

// services are where folds are; the other patterns are what they can reach.
var patterns = []string{
	"github.com/freshet-io/freshet/services/...",
	"github.com/freshet-io/freshet/events/...",
	"github.com/freshet-io/freshet/libs/...",
}

// What is found at least where the check still recognizes handlers and their SQL.
const (
	fewestHandlers   = 80
	fewestStatements = 150
)

func main() {
	root := flag.String("root", ".", "directory with go.work")
	flag.Parse()
	report, err := check(*root, patterns)
	if err != nil {
		fmt.Fprintln(os.Stderr, "purity:", err)
		os.Exit(2)
	}
	for _, f := range report.findings {
		fmt.Println(f)
	}
	if len(report.findings) > 0 {
		fmt.Printf("%d findings: a fold sees nothing but the event and its own tables\n", len(report.findings))
		os.Exit(1)
	}
	list, err := services.Read(*root)
	if err != nil {
		fmt.Fprintln(os.Stderr, "purity:", err)
		os.Exit(2)
	}
	if report.folds != len(list) || report.handlers < fewestHandlers || report.statements < fewestStatements {
		fmt.Printf("only %d folds of %d services, %d handlers and %d statements were found: the check no longer sees what it is for\n",
			report.folds, len(list), report.handlers, report.statements)
		os.Exit(1)
	}
	fmt.Printf("%d folds are pure: %d functions and %d statements reached from %d handlers\n",
		report.folds, report.functions, report.statements, report.handlers)
}
