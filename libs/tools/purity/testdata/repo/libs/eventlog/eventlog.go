// Package eventlog has the shape of the real one, for the tests of purity.
package eventlog

type Fold struct{}

func NewFold(service string, version int, tables string) *Fold { return &Fold{} }

type Tx struct{}

func (t *Tx) Exec(sql string, args ...any) {}

type Reader interface {
	Query(sql string, args ...any) error
}

func (f *Fold) Apply(typ string, fn func(*Tx) error)                 {}
func (f *Fold) Decide(typ string, fn func(Reader) ([]string, error)) {}

type Payload[P any] interface {
	*P
	ParseEvent(data []byte) error
}

func Apply[P any, PP Payload[P]](f *Fold, fn func(*Tx, P) error)                 {}
func Decide[P any, PP Payload[P]](f *Fold, fn func(Reader, P) ([]string, error)) {}
