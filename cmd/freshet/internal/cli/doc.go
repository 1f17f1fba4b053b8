// Package cli is the command line: freshet up and infra run things, the other
// commands talk to a running suite over its public HTTP routes, and print tables
// for people or, with -o json or yaml, what the suite answered. They promise one of the
// exit codes of exit.go and, whenever something failed, one sentence on standard error;
// under -o json and yaml it is one JSON object.
//
// What a suite lists is declared as a resource: its list and show commands, its short ids
// and the completion of its names are made of that. habits_test.go walks all commands and
// holds what they have in common; the scripts in testdata/script hold what each prints.
package cli

//go:generate go run ./reference -out ../../../../docs/reference
