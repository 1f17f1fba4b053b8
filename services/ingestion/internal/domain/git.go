package domain

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
)

// ErrAddress is wrapped by every refusal of a repository's address or branch.
var ErrAddress = errors.New("the repository cannot be watched")

var (
	branchPattern = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_./+-]{0,199}$`)
	hostPattern   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,252}(:[0-9]{1,5})?$`)
	userPattern   = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)
	pathPattern   = regexp.MustCompile(`^/[A-Za-z0-9_.~/+-]+$`)
)

// CheckAddress lets through what is safe to hand to git: an absolute path of this
// machine, where those are allowed, or an https or ssh URL without a password.
// Everything else, such as ext:: and what git would read as an option, is refused.
func CheckAddress(address string, local bool) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrAddress, fmt.Sprintf(format, args...))
	}
	for _, c := range address {
		if c < ' ' || c == 0x7f {
			return bad("the url contains a control character")
		}
	}
	if strings.HasPrefix(address, "/") {
		switch {
		case !local:
			return bad("directories of this machine are not allowed by the configuration")
		case len(address) > 1024 || filepath.Clean(address) != strings.TrimSuffix(address, "/"):
			return bad("the directory %q is not a plain absolute path", clip(address))
		}
		return nil
	}
	u, err := url.Parse(address)
	if err != nil {
		return bad("the url cannot be read")
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "ssh":
		return bad("give an absolute directory, or a url that begins with https:// or ssh://")
	case strings.Contains(address, "::"):
		return bad("remote helpers (::) are not used")
	case !hostPattern.MatchString(u.Host):
		return bad("the host %q is no host name", clip(u.Host))
	case !pathPattern.MatchString(u.Path) || len(address) > 1024 || strings.Contains(u.Path, "/-") || strings.Contains(u.Path, "..") || u.RawPath != "":
		return bad("the path %q contains what is not taken", clip(u.Path))
	case u.RawQuery != "" || u.Fragment != "":
		return bad("the url has a query or a fragment")
	}
	if u.User != nil {
		if _, has := u.User.Password(); has || u.Scheme == "https" {
			return bad("credentials do not belong in the url")
		}
		if !userPattern.MatchString(u.User.Username()) {
			return bad("the user name contains what is not taken")
		}
	}
	return nil
}

// CheckBranch lets through the name of a branch that is nothing else to git.
func CheckBranch(branch string) error {
	switch {
	case !branchPattern.MatchString(branch),
		strings.Contains(branch, ".."), strings.Contains(branch, "//"), strings.Contains(branch, "/."),
		strings.HasSuffix(branch, "/"), strings.HasSuffix(branch, "."), strings.HasSuffix(branch, ".lock"):
		return fmt.Errorf("%w: %q is no branch", ErrAddress, clip(branch))
	}
	return nil
}

// IsRevision reports whether s is a full Git revision.
func IsRevision(s string) bool {
	if len(s) != 40 && len(s) != 64 {
		return false
	}
	return strings.Trim(s, "0123456789abcdef") == ""
}

// Escapes reports whether a symbolic link at name (slash-separated) may lead out
// of its tree. Parents are only counted at its beginning: a parent after a name
// could pass through another link.
func Escapes(name, target string) bool {
	if target == "" || strings.HasPrefix(target, "/") || strings.ContainsAny(target, "\\\x00") {
		return true
	}
	depth := strings.Count(name, "/")
	leading := true
	for _, part := range strings.Split(target, "/") {
		switch part {
		case "..":
			if depth--; depth < 0 || !leading {
				return true
			}
		case ".", "":
		default:
			leading = false
		}
	}
	return false
}

// IsName reports whether s can name a namespace, a repository or a dataset.
func IsName(s string) bool { return namePattern.MatchString(s) }

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,62}$`)
