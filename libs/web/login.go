package web

import (
	"crypto/rand"
	"net/http"
	"sync"
	"time"
)

const (
	loginPath = "/console/login"
	codeLife  = time.Hour
	mostCodes = 100
)

// A Login lets browsers in. A link with a code is good once, within an hour; it begins a
// session.
type Login struct {
	token Token
	base  string

	mu    sync.Mutex
	codes map[string]time.Time // when each ends
}

// NewLogin returns what makes links to the console at a base URL.
func NewLogin(token Token, base string) *Login {
	return &Login{token: token, base: base, codes: map[string]time.Time{}}
}

// Link is a new link.
func (l *Login) Link() string {
	code := rand.Text()
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for other, end := range l.codes {
		if now.After(end) || len(l.codes) >= mostCodes {
			delete(l.codes, other)
		}
	}
	l.codes[code] = now.Add(codeLife)
	return l.base + loginPath + "?code=" + code
}

// use takes a code, which is then used up.
func (l *Login) use(code string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	end, ok := l.codes[code]
	delete(l.codes, code)
	return ok && time.Now().Before(end)
}

// A ConsoleLink is the answer to who asks for one.
type ConsoleLink struct {
	URL string `json:"url"`
}

// Register adds the routes.
func (l *Login) Register(m *Mux) {
	m.Handle(Route{Pattern: "GET " + loginPath, Role: Anyone, Summary: "Begin a session of the console with a link's code",
		Query: []Parameter{{Name: "code", Summary: "of a link that was not opened yet"}}, Answer: Media("text/html")}, l.begin)
	m.Handle(Route{Pattern: "POST /v1/console-links", Role: Admin, Summary: "Make a link that lets one browser into the console",
		Answer: ConsoleLink{}}, func(w http.ResponseWriter, _ *http.Request) {
		JSON(w, http.StatusCreated, ConsoleLink{URL: l.Link()})
	})
}

func (l *Login) begin(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer")
	if !l.use(r.URL.Query().Get("code")) {
		Problem(w, http.StatusUnauthorized, "Used up", "this link was opened before, or is older than an hour: freshet console prints another")
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: l.token.session(time.Now().Add(sessionLength)), Path: "/", MaxAge: int(sessionLength.Seconds()),
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	})
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
