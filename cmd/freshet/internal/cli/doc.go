// Package cli is the command line: freshet up and infra run things, the other
// commands talk to a running suite over its public HTTP routes, and print tables
// for people or, with -o json, what the suite answered. They promise an exit code
// other than 0 and one sentence on standard error whenever something failed.
package cli
