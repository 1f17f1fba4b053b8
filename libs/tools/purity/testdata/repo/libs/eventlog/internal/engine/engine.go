// Package engine has the shape of the real one, for the tests of purity.
package engine

type Fold struct{}

type Tx struct{}

func (t *Tx) Exec(sql string, args ...any) {}

type Reader interface {
	Query(sql string, args ...any) error
}

func (f *Fold) Apply(typ string, fn func(*Tx) error)                 {}
func (f *Fold) Decide(typ string, fn func(Reader) ([]string, error)) {}
