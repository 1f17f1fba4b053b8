// Package strictjson reads and writes the JSON of events and their payloads.
//
// Reading is stricter than encoding/json: text is valid UTF-8, keys are unique at
// every depth, NUL and unpaired surrogates are refused, nesting is bounded, and
// nothing follows the value. A Scanner walks a text; a Reader turns it into a
// generated struct in one pass and holds every member to its contract. Writing gives
// the bytes that encoding/json gives, to the last one, because digests and ids are
// made of them.
//
// # How it fails
//
// What is refused is ErrMalformed, with the byte where it stands and what belongs
// there; a Reader adds the path of members and items on the way out. After the first
// refusal nothing more is read. Nothing here knows an event type: the contracts'
// generated code says which members there are.
package strictjson

import (
	"errors"
	"fmt"
)

// ErrMalformed: the text is not strict JSON, or not what its contract says.
var ErrMalformed = errors.New("malformed event")

const maxNesting = 64

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}
