package edge

import (
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/freshet-io/freshet/libs/web"
)

// RequestHeader is what the page's own requests carry. No other site can make a
// browser send it without asking first, and the asking is refused.
const RequestHeader = "Freshet-Request"

// guard lets through what a person, or a program on this machine, asks for:
//
//   - The Host is loopback, a plain IP address or a configured name. A name that
//     somebody else's DNS points at this machine is refused, for reading too.
//   - A POST's content type is JSON, which no form can send.
//   - A POST that comes from a browser (it says Origin or Sec-Fetch-Site) comes from
//     this very origin and carries RequestHeader.
func (e *Edge) guard(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := e.hostAllowed(r.Host); err != nil {
			web.Problem(w, http.StatusMisdirectedRequest, "Unknown host", err.Error())
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			if err := allowedWrite(r); err != nil {
				web.Problem(w, http.StatusForbidden, "Refused", err.Error())
				return
			}
			if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
				web.Problem(w, http.StatusUnsupportedMediaType, "Unsupported media type", "send application/json")
				return
			}
		}
		next(w, r)
	}
}

func (e *Edge) hostAllowed(hostport string) error {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") || net.ParseIP(host) != nil {
		return nil
	}
	for _, h := range e.hosts {
		if strings.EqualFold(h, host) {
			return nil
		}
	}
	return fmt.Errorf("this console is not %q; FRESHET_CONSOLE_HOSTS says which names it has", hostport)
}

func allowedWrite(r *http.Request) error {
	origin, site := r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site")
	if origin == "" && site == "" {
		return nil // not a browser
	}
	if site != "" && site != "same-origin" {
		return fmt.Errorf("the request comes from another site (%s)", site)
	}
	if origin != "" {
		u, err := url.Parse(origin)
		if err != nil || !strings.EqualFold(u.Host, r.Host) {
			return fmt.Errorf("the request comes from %q, not from this console", origin)
		}
	}
	if r.Header.Get(RequestHeader) == "" {
		return fmt.Errorf("the request lacks the header %s", RequestHeader)
	}
	return nil
}
