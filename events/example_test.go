package events_test

import (
	"errors"
	"fmt"
	"strings"

	"github.com/freshet-io/freshet/events"
)

// An event is validated when it is made, and again when it is read.
func Example() {
	pushed := events.CodePushed{Repository: "flights", URL: "https://example.com/flights.git", Branch: "main",
		Revision: strings.Repeat("c", 40), Via: "watch"}
	e, err := events.NewCodePushed("default", "flights", pushed)
	fmt.Println(e.Type(), e.Subject(), err)
	p, err := events.Parse[events.CodePushed](e)
	fmt.Println(p.Branch, err)

	pushed.Revision = "main"
	_, err = events.NewCodePushed("default", "flights", pushed)
	fmt.Println(err != nil)
	// Output:
	// io.freshet.ingestion.v1.code_pushed flights <nil>
	// main <nil>
	// true
}

// One sequence of bytes is one event, or it is refused.
func ExampleDecodeStructured() {
	e, err := events.DecodeStructured([]byte(`{"specversion":"1.0","id":"1","source":"/mill","type":"ground","data":{"sacks":3}}`))
	fmt.Println(e.ID(), string(e.Data()), err)
	_, err = events.DecodeStructured([]byte(`{"specversion":"1.0","id":"1","id":"2","source":"/mill","type":"ground"}`))
	fmt.Println(errors.Is(err, events.ErrMalformed))
	// Output:
	// 1 {"sacks":3} <nil>
	// true
}

// Facts come from outside of a fold, decisions from a fold.
func ExampleIsDecision() {
	fmt.Println(events.IsDecision(events.TypeCodePushed), events.IsDecision(events.TypeCandidatePassed))
	// Output: false true
}
