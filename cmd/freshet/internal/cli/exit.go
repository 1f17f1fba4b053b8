package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
)

// Exit codes, the same for every command.
const (
	exitYes      = 0
	exitError    = 1
	exitUsage    = 2
	exitNotFound = 3
	exitNo       = 4 // the verdict is no
	exitTimeout  = 5 // waited too long
)

// An ExitCode is what a command ends with, and when.
type ExitCode struct {
	Code int
	When string
}

// ExitCodes explains them, for the reference.
var ExitCodes = []ExitCode{
	{exitYes, "yes: it is so, or it was done"},
	{exitError, "an error: no suite answers, it refuses the token, a request conflicts with what is there"},
	{exitUsage, "usage: an unknown command or flag, a value that is not allowed, the beginning of several ids"},
	{exitNotFound, "not found: no object has this name or id"},
	{exitNo, "the verdict is no: a candidate was refused, data was rejected, a rollout was rolled back, definitions have mistakes, a state differs"},
	{exitTimeout, "waited too long: nothing moved for --timeout, or the suite did not answer within it"},
}

// A codedError ends a command with an exit code other than 1.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

// usagef is the error of a command line that breaks a rule.
func usagef(format string, args ...any) error {
	return &codedError{exitUsage, fmt.Errorf(format, args...)}
}

// notFoundf is the error of a name or id that nothing has.
func notFoundf(format string, args ...any) error {
	return &codedError{exitNotFound, fmt.Errorf(format, args...)}
}

// sayNo ends a command whose verdict is no. The error says of what.
func sayNo(err error) error { return &codedError{exitNo, err} }

// timeoutf is the error of a command that waited too long.
func timeoutf(format string, args ...any) error {
	return &codedError{exitTimeout, fmt.Errorf(format, args...)}
}

// An answerError is what a suite answered instead of what was asked.
type answerError struct {
	Status    int
	Text      string
	Rule, Fix string // where the suite says them
}

func (e *answerError) Error() string { return e.Text }

// exitCode is the one place where errors become exit codes.
func exitCode(err error) int {
	var coded *codedError
	var answer *answerError
	switch {
	case err == nil:
		return exitYes
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, &answer) && answer.Status == http.StatusNotFound:
		return exitNotFound
	case errors.As(err, &answer) && answer.Status == http.StatusBadRequest:
		return exitUsage
	case errors.Is(err, context.DeadlineExceeded):
		return exitTimeout
	case fromCobra(err):
		return exitUsage
	}
	return exitError
}

// fromCobra reports whether cobra refused the command line. Its errors have no types.
func fromCobra(err error) bool {
	for _, begin := range []string{"unknown command ", "required flag(s) ", "if any flags in the group "} {
		if strings.HasPrefix(err.Error(), begin) {
			return true
		}
	}
	return false
}

// complain writes an error: a sentence for people, one JSON object for programs.
func complain(w io.Writer, args []string, err error, code int) {
	if !slices.ContainsFunc([]string{"json", "yaml"}, func(f string) bool { return asksFor(args, f) }) {
		_, _ = fmt.Fprintln(w, "freshet:", err)
		return
	}
	said := struct {
		Error string `json:"error"`
		Code  int    `json:"code"`
		Rule  string `json:"rule,omitempty"`
		Fix   string `json:"fix,omitempty"`
	}{Error: err.Error(), Code: code}
	var answer *answerError
	if errors.As(err, &answer) {
		said.Rule, said.Fix = answer.Rule, answer.Fix
	}
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	_ = out.Encode(said) // as everything that is written to standard error
}

// asksFor reports whether a command line has -o format. It is read here by hand, as a
// command line that breaks a rule may not have been parsed so far.
func asksFor(args []string, format string) bool {
	for i, a := range args {
		switch a {
		case "--":
			return false
		case "-o" + format, "-o=" + format, "--output=" + format:
			return true
		case "-o", "--output":
			if i+1 < len(args) && args[i+1] == format {
				return true
			}
		}
	}
	return false
}
