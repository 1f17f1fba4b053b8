// Package eventlog has the shape of the real one, for the tests of purity.
package eventlog

import "github.com/freshet-io/freshet/libs/eventlog/internal/engine"

type (
	Fold   = engine.Fold
	Tx     = engine.Tx
	Reader = engine.Reader
)

func NewFold(service string, version int, tables string) *Fold { return &Fold{} }

type Payload[P any] interface {
	*P
	ParseEvent(data []byte) error
}

func Apply[P any, PP Payload[P]](f *Fold, fn func(*Tx, P) error)                 {}
func Decide[P any, PP Payload[P]](f *Fold, fn func(Reader, P) ([]string, error)) {}
