package web

import (
	"cmp"
	"fmt"
	"net/http"
	"strings"
)

// ActorHeader says who acts. On loopback it is taken at its word; a proxy that
// authenticates sets it itself.
const ActorHeader = "Freshet-Actor"

const (
	actorLimit   = 128
	actorSymbols = "._:|/=+-"
)

// Actor is who a request says acts; empty where it does not say.
func Actor(r *http.Request) (string, error) {
	a := r.Header.Get(ActorHeader)
	if a == "" {
		return "", nil
	}
	if err := CheckActor(a); err != nil {
		return "", fmt.Errorf("%s: %w", ActorHeader, err)
	}
	return a, nil
}

// Acting is who a request says acts, or otherwise where it does not say. It answers 400
// and false for what is no actor.
func Acting(w http.ResponseWriter, r *http.Request, otherwise string) (string, bool) {
	a, err := Actor(r)
	if err != nil {
		Problem(w, http.StatusBadRequest, "Bad actor", err.Error())
		return "", false
	}
	return cmp.Or(a, otherwise), true
}

// CheckActor refuses what is no opaque id. What is recorded is kept for as long as the
// log is, so that names and mail addresses, which must be erasable, have no place there.
func CheckActor(a string) error {
	opaque := a != "" && len(a) <= actorLimit
	for i, c := range []byte(a) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		opaque = opaque && (letter || i > 0 && strings.IndexByte(actorSymbols, c) >= 0)
	}
	if !opaque {
		return fmt.Errorf("%q is no actor: write an opaque id of 1 to %d letters, digits and %s, such as an account's; a name or a mail address "+
			"would be kept for ever",
			a, actorLimit, actorSymbols)
	}
	return nil
}
