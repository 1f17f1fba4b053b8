package domain

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
)

// Kinds of places that a file's bytes may be in.
const (
	InObjects = "objects" // uploaded before
	InInbox   = "file"    // below the inbox directory
)

// A Location says where the bytes of an arrived file are.
type Location struct {
	Kind   string
	Digest string // of an uploaded file, or as it was given
	Path   string // slash-separated, below the inbox
}

// ErrLocation is wrapped by every refusal of a file's place.
var ErrLocation = errors.New("the file cannot be taken from there")

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrLocation, fmt.Sprintf(format, args...))
}

// Locate reads a file's uri or, without one, its digest. Inbox is the directory
// that file: URIs may name files in; empty refuses them all. Nothing is decoded:
// a path is the bytes that are written, and what has to be escaped is refused.
func Locate(uri, digest, inbox string) (Location, error) {
	if uri == "" {
		if digest == "" {
			return Location{}, refuse("neither a uri nor a digest is given")
		}
		return Location{Kind: InObjects, Digest: prefixed(digest)}, nil
	}
	scheme, rest, ok := strings.Cut(uri, ":")
	if !ok {
		return Location{}, refuse("%q has no scheme; objects:<digest> and file:<path> are understood", clip(uri))
	}
	switch scheme {
	case InObjects:
		if !isHex64(Hex(rest)) {
			return Location{}, refuse("objects: is followed by %q, not by a digest as PUT /v1/files gives it", clip(rest))
		}
		if digest != "" && Hex(digest) != Hex(rest) {
			return Location{}, refuse("the uri and the digest name different files")
		}
		return Location{Kind: InObjects, Digest: prefixed(rest)}, nil
	case InInbox:
		p, err := inboxPath(rest, inbox)
		return Location{Kind: InInbox, Path: p, Digest: prefixed(digest)}, err
	case "http", "https", "s3", "gs", "ftp":
		return Location{}, refuse("%s: is not fetched by this version; upload the file with PUT /v1/files and name it by its digest", scheme)
	}
	return Location{}, refuse("%q is not understood; objects:<digest> and file:<path> are", clip(scheme)+":")
}

func inboxPath(rest, inbox string) (string, error) {
	if inbox == "" {
		return "", refuse("no inbox directory is configured; upload the file with PUT /v1/files")
	}
	if strings.ContainsAny(rest, "%?#\\\x00\r\n") {
		return "", refuse("the path %q contains a character that is not taken: one of %% ? # \\ or a control character", clip(rest))
	}
	if strings.HasPrefix(rest, "//") {
		host, p, ok := strings.Cut(rest[2:], "/")
		if !ok || host != "" && host != "localhost" {
			return "", refuse("file: names a host")
		}
		rest = "/" + p
	}
	if strings.HasPrefix(rest, "/") {
		root := strings.TrimSuffix(filepath.ToSlash(inbox), "/") + "/"
		below, ok := strings.CutPrefix(rest, root)
		if !ok {
			return "", refuse("the path is not below the inbox")
		}
		rest = below
	}
	for _, part := range strings.Split(rest, "/") {
		if part == "" || part == "." || part == ".." {
			return "", refuse("the path %q is not a plain path below the inbox", clip(rest))
		}
	}
	if len(rest) > 1024 {
		return "", refuse("the path is longer than 1024 characters")
	}
	return rest, nil
}

const algorithm = "sha256:"

// Hex is a digest without its algorithm, as URIs name objects.
func Hex(digest string) string { return strings.TrimPrefix(digest, algorithm) }

// prefixed is a digest with its algorithm, as events and the object store name objects.
func prefixed(digest string) string {
	if digest == "" {
		return ""
	}
	return algorithm + Hex(digest)
}

func isHex64(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := range len(s) {
		if !(s[i] >= '0' && s[i] <= '9' || s[i] >= 'a' && s[i] <= 'f') {
			return false
		}
	}
	return true
}

// Formats of files.
const (
	CSV     = "csv"
	JSONL   = "jsonl"
	Parquet = "parquet"
)

// FormatOf tells a file's format by what was said, its name's ending, or its
// first bytes.
func FormatOf(said, name string, head []byte) string {
	if said != "" {
		return said
	}
	switch strings.ToLower(path.Ext(name)) {
	case ".parquet", ".pq":
		return Parquet
	case ".csv", ".tsv":
		return CSV
	case ".jsonl", ".ndjson", ".json":
		return JSONL
	}
	switch trimmed := strings.TrimLeft(string(head), " \t\r\n"); {
	case strings.HasPrefix(string(head), "PAR1"):
		return Parquet
	case strings.HasPrefix(trimmed, "{"):
		return JSONL
	}
	return CSV
}

func clip(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "..."
	}
	return s
}
