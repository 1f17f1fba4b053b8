package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/freshet-io/freshet/events"
	"github.com/freshet-io/freshet/libs/objects"
	"github.com/freshet-io/freshet/services/ingestion/internal/domain"
)

// Files brings the bytes of arrivals into the object store.
type Files struct {
	Objects *objects.Store
	Inbox   string // directory of file: URIs; empty: none
	Limit   int64  // greatest file
}

// take finds a file's bytes and describes them.
func (f *Files) take(ctx context.Context, a events.ArrivalFile) (events.ArrivedFile, error) {
	where, err := domain.Locate(a.URI, a.Digest, f.Inbox)
	if err != nil {
		return events.ArrivedFile{}, refuse(reasonFile, http.StatusBadRequest, "Bad file", "%s", err)
	}
	ref := objects.Ref{Digest: where.Digest}
	if where.Kind == domain.InInbox {
		if ref, err = f.fromInbox(ctx, where.Path); err != nil {
			return events.ArrivedFile{}, err
		}
		if where.Digest != "" && where.Digest != ref.Digest {
			return events.ArrivedFile{}, refuse(reasonFile, http.StatusBadRequest, "Bad file", "the file has the digest %s, not the one that is given", ref.Digest)
		}
	}
	local, err := f.Objects.File(ctx, ref.Digest)
	switch {
	case errors.Is(err, objects.ErrNotFound), errors.Is(err, objects.ErrBadDigest):
		return events.ArrivedFile{}, refuse(reasonFile, http.StatusBadRequest, "Bad file",
			"there is no object %s; upload the file with PUT /v1/files first", ref.Digest)
	case err != nil:
		return events.ArrivedFile{}, err
	}
	head, size, err := begin(local)
	if err != nil {
		return events.ArrivedFile{}, err
	}
	name := a.Name
	if name == "" && where.Path != "" {
		name = path.Base(where.Path)
	}
	if name == "" {
		name = domain.Hex(ref.Digest)[:12]
	}
	return events.ArrivedFile{Name: name, Format: domain.FormatOf(a.Format, name, head),
		Object: events.ObjectOf(ref.Digest, size, "")}, nil
}

// begin reads a file's first bytes and its size.
func begin(name string) ([]byte, int64, error) {
	r, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = r.Close() }() // only read
	info, err := r.Stat()
	if err != nil {
		return nil, 0, err
	}
	head := make([]byte, 256)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, 0, err
	}
	return head[:n], info.Size(), nil
}

// fromInbox copies a file of the inbox into the object store. The inbox is opened
// as a root that no path leads out of; symbolic links are not followed, and only
// regular files are read, even if they change while we look.
func (f *Files) fromInbox(ctx context.Context, name string) (objects.Ref, error) {
	bad := func(format string, args ...any) error {
		return refuse(reasonFile, http.StatusBadRequest, "Bad file", format, args...)
	}
	root, err := os.OpenRoot(f.Inbox)
	if err != nil {
		return objects.Ref{}, fmt.Errorf("the inbox cannot be opened: %w", err)
	}
	defer func() { _ = root.Close() }()
	parts := strings.Split(name, "/")
	for i := range parts {
		info, err := root.Lstat(strings.Join(parts[:i+1], "/"))
		switch {
		case err != nil:
			return objects.Ref{}, bad("there is no file %.200q in the inbox", name)
		case info.Mode()&os.ModeSymlink != 0:
			return objects.Ref{}, bad("%.200q is or passes through a symbolic link, which is not followed", name)
		case i == len(parts)-1 && !info.Mode().IsRegular():
			return objects.Ref{}, bad("%.200q is not a regular file", name)
		}
	}
	r, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return objects.Ref{}, bad("the file %.200q in the inbox cannot be opened", name)
	}
	defer func() { _ = r.Close() }() // only read
	info, err := r.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return objects.Ref{}, bad("%.200q is not a regular file", name)
	}
	if info.Size() > f.Limit {
		return objects.Ref{}, refuse(reasonTooLarge, http.StatusRequestEntityTooLarge, "File too large", "the file has %d bytes; at most %d are taken",
			info.Size(), f.Limit)
	}
	ref, err := f.Objects.Put(ctx, &limited{r: r, left: f.Limit})
	if errors.Is(err, errLimit) {
		return objects.Ref{}, refuse(reasonTooLarge, http.StatusRequestEntityTooLarge, "File too large", "at most %d bytes are taken", f.Limit)
	}
	return ref, err
}

var errLimit = errors.New("more bytes than are taken")

// limited fails where a reader yields more than it may; cutting it off silently
// would store a part as the whole.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left < 0 {
		return 0, errLimit
	}
	if int64(len(p)) > l.left+1 {
		p = p[:l.left+1]
	}
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, errLimit
	}
	return n, err
}

func printable(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\\0"), "?")
}
