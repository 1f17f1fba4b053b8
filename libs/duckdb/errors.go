package duckdb

import (
	"context"
	"errors"
	"strings"

	duck "github.com/duckdb/duckdb-go/v2"
)

// A Kind says what to do about an error.
type Kind int

// The kinds of errors.
const (
	Internal    Kind = iota // a fault of DuckDB or of this package
	Syntax                  // the text is not SQL
	Unknown                 // a column, table or function that does not exist
	Invalid                 // types or values that do not fit
	Forbidden               // something a sealed session does not do
	OutOfMemory             // the limit of the session was reached
	Interrupted             // the context ended
	IO                      // a file could not be read or written
)

// Error is a failed statement. Message is fit to be shown to who wrote the SQL.
type Error struct {
	Kind    Kind
	Message string
	SQL     string
	cause   error
}

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error { return e.cause }

// UsersFault reports whether the SQL, or the data it met, is wrong: trying again
// gives the same error.
func (e *Error) UsersFault() bool {
	switch e.Kind {
	case Syntax, Unknown, Invalid, Forbidden:
		return true
	default:
		return false
	}
}

// UsersFault reports whether err is an *Error that trying again will not cure.
func UsersFault(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.UsersFault()
}

func wrap(err error, sql string) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return &Error{Kind: Interrupted, Message: "the query was stopped: " + err.Error(), SQL: sql, cause: err}
	}
	var already *Error
	if errors.As(err, &already) {
		return already
	}
	message := err.Error()
	kind := Internal
	var d *duck.Error
	if errors.As(err, &d) {
		message, kind = d.Msg, kindOfError(d.Type)
	}
	kind = kindOfText(message, kind)
	if i := strings.Index(message, "\n\nLINE"); i > 0 {
		message = message[:i]
	}
	return &Error{Kind: kind, Message: strings.TrimSpace(message), SQL: sql, cause: err}
}

func kindOfError(t duck.ErrorType) Kind {
	switch t {
	case duck.ErrorTypeParser, duck.ErrorTypeSyntax:
		return Syntax
	case duck.ErrorTypeBinder, duck.ErrorTypeCatalog:
		return Unknown
	case duck.ErrorTypeConversion, duck.ErrorTypeOutOfRange, duck.ErrorTypeMismatchType, duck.ErrorTypeInvalidInput,
		duck.ErrorTypeInvalidType, duck.ErrorTypeDivideByZero, duck.ErrorTypeConstraint, duck.ErrorTypeNotImplemented,
		duck.ErrorTypeExpression, duck.ErrorTypeParameterNotAllowed, duck.ErrorTypeParameterNotResolved:
		return Invalid
	case duck.ErrorTypePermission:
		return Forbidden
	case duck.ErrorTypeOutOfMemory:
		return OutOfMemory
	case duck.ErrorTypeInterrupt:
		return Interrupted
	case duck.ErrorTypeIO:
		return IO
	}
	return Internal
}

// kindOfText reads the prefix that DuckDB puts before its sentences: errors of
// running statements arrive without a type.
func kindOfText(message string, otherwise Kind) Kind {
	for prefix, kind := range map[string]Kind{
		"Parser Error": Syntax, "Binder Error": Unknown, "Catalog Error": Unknown, "Conversion Error": Invalid,
		"Out of Range Error": Invalid, "Invalid Input Error": Invalid, "Permission Error": Forbidden,
		"Out of Memory Error": OutOfMemory, "INTERRUPT Error": Interrupted, "IO Error": IO, "Not implemented Error": Invalid,
	} {
		if strings.Contains(message, prefix) {
			return kind
		}
	}
	return otherwise
}
