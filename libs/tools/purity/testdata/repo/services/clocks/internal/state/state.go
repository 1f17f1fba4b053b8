// Package state depends on the machine it runs on.
package state

import (
	"crypto/rand"
	random "math/rand/v2"
	"net/http"
	"os"
	"time"

	"github.com/freshet-io/freshet/libs/eventlog"
)

func New() *eventlog.Fold {
	f := eventlog.NewFold("clocks", 1, `CREATE TABLE t (id bigint PRIMARY KEY)`)
	f.Apply("a", applied)
	f.Decide("a", decided)
	eventlog.Apply(f, typed)
	eventlog.Decide(f, typedDecision)
	return f
}

type payload struct{ at time.Time }

func (p *payload) ParseEvent(data []byte) error {
	p.at = time.Now().Add(time.Hour) // want: time.Now
	return nil
}

func typed(tx *eventlog.Tx, p payload) error {
	tx.Exec(`UPDATE t SET id = $1`, time.Until(p.at)) // want: time.Until
	return nil
}

func typedDecision(r eventlog.Reader, _ payload) ([]string, error) {
	return nil, r.Query(`UPDATE t SET id = 1`) // want: decide only reads
}

var seen = map[string]bool{}

type source interface{ next() int }

type dice struct{}

func (dice) next() int { return random.Int() } // want: math/rand/v2.Int

type machine struct{ source }

func applied(tx *eventlog.Tx) error {
	tx.Exec(`UPDATE t SET id = $1`, time.Now().Unix()) // want: time.Now
	var s source = dice{}
	tx.Exec(`UPDATE t SET id = $1`, s.next())
	b := make([]byte, 8)
	_, err := rand.Read(b)  // want: crypto/rand.Read
	go func() { _ = err }() // want: go:
	helper()
	seen["a"] = true                                         // want: package variable seen
	tx.Exec(`UPDATE t SET id = $1`, time.Unix(0, 0).Local()) // want: time zone
	return err
}

func helper() {
	_, _ = os.ReadFile("/etc/hostname")  // want: os.ReadFile
	_, _ = http.Get("http://localhost/") // want: net/http.Get
	time.Sleep(time.Second)              // want: time.Sleep
	_, _ = os.ReadFile("/etc/nothing")   //purity:allow an excuse with a reason counts
	_, _ = os.ReadFile("/etc/else")      //purity:allow
	// want above: os.ReadFile
}

func decided(r eventlog.Reader) ([]string, error) {
	return nil, table["a"]()
}

var table = map[string]func() error{"a": late}

func late() error {
	_ = time.Since(time.Time{}) // want: time.Since
	return nil
}
