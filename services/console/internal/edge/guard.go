package edge

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/freshet-io/freshet/libs/web"
)

// RequestHeader is what the page's own requests carry. No other site can make a
// browser send it without asking first, and the asking is refused.
const RequestHeader = "Freshet-Request"

// guard lets through a POST that a person, or a program on this machine, sends:
//
//   - Its content type is JSON, which no form can send.
//   - Who acts, where it says so, is an opaque id.
//   - If it comes from a browser (it says Origin or Sec-Fetch-Site) it comes from this
//     very origin and carries RequestHeader.
//
// That the host's name is one of this machine's own is the listener's to see to:
// web.Guard does for every route.
func guard(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := allowedWrite(r); err != nil {
			web.Problem(w, http.StatusForbidden, "Refused", err.Error())
			return
		}
		if !web.SentJSON(w, r) {
			return
		}
		if _, ok := web.Acting(w, r, ""); !ok {
			return
		}
		next(w, r)
	}
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
