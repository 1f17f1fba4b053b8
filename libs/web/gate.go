package web

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A Role is what somebody may do.
type Role string

const (
	// Anyone is who has not said who they are: health is theirs, and what proves itself
	// by other means.
	Anyone Role = "anyone"
	// Reader looks at state, at the log and at the console.
	Reader Role = "reader"
	// Caller asks models and features for answers.
	Caller Role = "caller"
	// Producer sends data.
	Producer Role = "producer"
	// Operator acts for people: approves, trains, promotes, retries.
	Operator Role = "operator"
	// Admin changes the installation itself.
	Admin Role = "admin"
)

// Roles are all roles but Anyone.
func Roles() []Role { return []Role{Reader, Caller, Producer, Operator, Admin} }

// A Gate knows who asks.
type Gate interface {
	// Roles are those of whoever sent a request; none where that is not known.
	Roles(r *http.Request) []Role
}

// Open lets everybody do everything: for a listener that nobody else reaches.
type Open struct{}

// Roles are all of them.
func (Open) Roles(*http.Request) []Role { return Roles() }

// A Token lets in who has it, for everything: as a bearer token, or in a browser by a
// session that was begun with it (Login).
type Token string

// Roles are all of them for who has the token.
func (t Token) Roles(r *http.Request) []Role {
	given, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if isBearer && t != "" && subtle.ConstantTimeCompare([]byte(given), []byte(t)) == 1 {
		return Roles()
	}
	if c, err := r.Cookie(sessionCookie); err == nil && t.validSession(c.Value, time.Now()) {
		return Roles()
	}
	return nil
}

const (
	sessionCookie = "freshet_session"
	sessionLength = 7 * 24 * time.Hour
)

// session is a cookie's value: when it ends, and a proof that the token's holder made it.
// It needs no memory, so that every process with the token knows it.
func (t Token) session(end time.Time) string {
	value := binary.BigEndian.AppendUint64(nil, uint64(end.Unix())) //nolint:gosec // after 1970
	return base64.RawURLEncoding.EncodeToString(append(value, t.proof(value)...))
}

func (t Token) validSession(cookie string, now time.Time) bool {
	value, err := base64.RawURLEncoding.Strict().DecodeString(cookie)
	if err != nil || len(value) != 8+sha256.Size || t == "" {
		return false
	}
	end := time.Unix(int64(binary.BigEndian.Uint64(value)), 0) //nolint:gosec // the proof covers it
	return hmac.Equal(value[8:], t.proof(value[:8])) && now.Before(end)
}

func (t Token) proof(value []byte) []byte {
	sum := hmac.New(sha256.New, []byte(t))
	sum.Write([]byte("session\n"))
	sum.Write(value)
	return sum.Sum(nil)
}

// admit says whether a request may pass to a route, and answers it where it may not.
func admit(w http.ResponseWriter, r *http.Request, gate Gate, needed Role) bool {
	if needed == Anyone {
		return true
	}
	roles := gate.Roles(r)
	switch {
	case len(roles) == 0:
		w.Header().Set("WWW-Authenticate", `Bearer realm="freshet"`)
		if strings.Contains(r.Header.Get("Accept"), "text/html") {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Header().Set("Content-Security-Policy", "default-src 'none'")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(signInPage)) // the client is gone if this fails
			return false
		}
		Problem(w, http.StatusUnauthorized, "Unauthorized", "a token is needed: send Authorization: Bearer with what is in the suite's DIR/token; "+
			"the command line reads FRESHET_TOKEN")
		return false
	case !slices.Contains(roles, needed):
		Problem(w, http.StatusForbidden, "Forbidden", r.Method+" "+r.URL.Path+" needs the role "+string(needed))
		return false
	}
	return true
}

const signInPage = `<!doctype html><html lang="en"><title>Freshet: sign in</title>
<h1>Sign in</h1>
<p>Open the link that <code>freshet up</code> printed. It is good once; <code>freshet console</code> prints another.</p>
`

// Bearer sends a token with every request, to whatever server.
type Bearer struct{ Token Token }

// RoundTrip sends a request with the token.
func (b Bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(b.Token))
	return http.DefaultTransport.RoundTrip(r)
}
