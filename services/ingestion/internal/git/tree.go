package git

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/freshet-io/freshet/services/ingestion/internal/domain"
)

// Modes of a tree's entries.
const (
	File       = "100644"
	Executable = "100755"
	Link       = "120000"
	Submodule  = "160000"
)

// Limits of a revision.
const (
	MaxEntries = 20000
	MaxTotal   = 64 << 20
	maxPath    = 1024
)

// Errors of a tree.
var (
	// ErrTooLarge: the revision has more files or bytes than are archived.
	ErrTooLarge = errors.New("the revision is too large to be archived")
	// ErrUnsafe: a path or a link could lead out of the tree.
	ErrUnsafe = errors.New("the revision has an unsafe path")
)

// Entry is one file of a tree.
type Entry struct {
	Mode string
	ID   string
	Size int64
	Path string
}

// Tree lists the files of the revision in git's order and refuses what is too
// large or unsafe as a whole. Submodules are left out: they are other repositories.
func (c *Clone) Tree(ctx context.Context) ([]Entry, error) {
	out, err := c.runner.run(ctx, c.dir, MaxEntries*(maxPath+128), "ls-tree", "-r", "-z", "-l", "--full-tree", c.Revision)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	var total int64
	for record := range strings.SplitSeq(string(out), "\x00") {
		if record == "" {
			continue
		}
		meta, path, ok := strings.Cut(record, "\t")
		f := strings.Fields(meta)
		if !ok || len(f) != 4 {
			return nil, &Error{Command: "ls-tree", Message: "an entry cannot be read"}
		}
		e := Entry{Mode: f[0], ID: f[2], Path: path}
		if !safePath(path) {
			return nil, fmt.Errorf("%w: %.80q", ErrUnsafe, path)
		}
		switch e.Mode {
		case Submodule:
			continue
		case File, Executable, Link, "100664":
		default:
			return nil, fmt.Errorf("%w: %.80q has mode %s", ErrUnsafe, path, e.Mode)
		}
		if e.Size, err = strconv.ParseInt(f[3], 10, 64); err != nil {
			return nil, &Error{Command: "ls-tree", Message: "an entry has no size"}
		}
		entries = append(entries, e)
		if total += e.Size; len(entries) > MaxEntries || total > MaxTotal {
			return nil, fmt.Errorf("%w: at most %d files and %d MiB are taken", ErrTooLarge, MaxEntries, MaxTotal>>20)
		}
	}
	return entries, nil
}

func safePath(p string) bool {
	if p == "" || len(p) > maxPath || strings.HasPrefix(p, "/") || !utf8.ValidString(p) || strings.Contains(p, `\`) {
		return false
	}
	for _, c := range p {
		if c < ' ' || c == 0x7f {
			return false
		}
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == "" || part == "." || part == ".." || strings.EqualFold(part, ".git") {
			return false
		}
	}
	return true
}

func readBatch(out io.Reader, entries []Entry, fn func(Entry, []byte) error) error {
	r := bufio.NewReaderSize(out, 64<<10)
	for _, e := range entries {
		header, err := r.ReadString('\n')
		if err != nil {
			return &Error{Command: "cat-file", Message: "the answer ends early"}
		}
		f := strings.Fields(header)
		if len(f) != 3 || f[0] != e.ID || f[1] != "blob" || f[2] != strconv.FormatInt(e.Size, 10) {
			return &Error{Command: "cat-file", Message: "the answer is not what was asked for"}
		}
		blob := make([]byte, e.Size)
		if _, err := io.ReadFull(r, blob); err != nil {
			return &Error{Command: "cat-file", Message: "the answer ends early"}
		}
		if _, err := r.Discard(1); err != nil {
			return &Error{Command: "cat-file", Message: "the answer ends early"}
		}
		if e.Mode == Link && domain.Escapes(e.Path, string(blob)) {
			return fmt.Errorf("%w: the link %.80q leads out of the repository", ErrUnsafe, e.Path)
		}
		if err := fn(e, blob); err != nil {
			return err
		}
	}
	return nil
}
