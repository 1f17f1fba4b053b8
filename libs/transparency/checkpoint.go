package transparency

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Hash is a hash of the tree.
type Hash = tlog.Hash

// ErrUnsigned: none of the given keys has signed it as it is.
var ErrUnsigned = errors.New("no given key has signed it as it is")

// A Checkpoint is a state of the list: how many records, and the root over them.
type Checkpoint struct {
	Origin string // the name of the key that signs
	Size   int64
	Root   Hash
}

func (c Checkpoint) text() string {
	return c.Origin + "\n" + strconv.FormatInt(c.Size, 10) + "\n" + base64.StdEncoding.EncodeToString(c.Root[:]) + "\n"
}

// Checkpoint signs a state of the list. The same state gives the same note.
func (k Key) Checkpoint(size int64, root Hash) (string, error) {
	return k.sign(Checkpoint{Origin: k.Name(), Size: size, Root: root}.text())
}

func (k Key) sign(text string) (string, error) {
	b, err := note.Sign(&note.Note{Text: text}, k.signer)
	return string(b), err
}

// OpenCheckpoint reads a signed checkpoint and returns which of the keys signed it.
func OpenCheckpoint(signed string, keys ...string) (Checkpoint, string, error) {
	text, key, err := openNote(signed, keys)
	if err != nil {
		return Checkpoint{}, "", fmt.Errorf("the checkpoint: %w", err)
	}
	c, err := parseCheckpoint(text)
	if err != nil {
		return Checkpoint{}, "", err
	}
	if name, _, _ := strings.Cut(key, "+"); c.Origin != name {
		return Checkpoint{}, "", fmt.Errorf("the checkpoint is of %q, and the key that signed it of %q", c.Origin, name)
	}
	return c, key, nil
}

func parseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return Checkpoint{}, errors.New("the note is not a checkpoint: it has another number of lines than three")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 {
		return Checkpoint{}, fmt.Errorf("the checkpoint's size is %q", shortened(lines[1]))
	}
	root, err := parseHash(lines[2])
	if err != nil {
		return Checkpoint{}, fmt.Errorf("the checkpoint's root: %w", err)
	}
	c := Checkpoint{Origin: lines[0], Size: size, Root: root}
	if c.text() != text {
		return Checkpoint{}, errors.New("the checkpoint is not written as its signer writes it")
	}
	return c, nil
}

func parseHash(s string) (h Hash, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(h) || base64.StdEncoding.EncodeToString(b) != s {
		return h, fmt.Errorf("%q is not a hash", shortened(s))
	}
	return Hash(b), nil
}

// openNote returns a note's text and the key that signed it.
func openNote(signed string, keys []string) (text, key string, err error) {
	known, err := verifiers(keys)
	if err != nil {
		return "", "", err
	}
	n, err := note.Open([]byte(signed), known)
	var unverified *note.UnverifiedNoteError
	var invalid *note.InvalidSignatureError
	switch {
	case errors.As(err, &unverified):
		return "", "", fmt.Errorf("%w: it is signed by %s", ErrUnsigned, signers(unverified.Note.UnverifiedSigs))
	case errors.As(err, &invalid):
		return "", "", fmt.Errorf("%w: the signature of %s+%08x is another text's", ErrUnsigned, invalid.Name, invalid.Hash)
	case err != nil:
		return "", "", fmt.Errorf("%w: it is not a signed note", ErrUnsigned)
	}
	// What the library reads leniently has one spelling here.
	rest, lines := signed[len(n.Text)+1:], 0
	for line := range strings.Lines(rest) {
		lines++
		at := strings.LastIndexByte(line, ' ')
		b, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSuffix(line[at+1:], "\n"))
		if err != nil || base64.StdEncoding.EncodeToString(b)+"\n" != line[at+1:] {
			return "", "", fmt.Errorf("%w: a signature is not written as its signer writes it", ErrUnsigned)
		}
	}
	if lines != len(n.Sigs)+len(n.UnverifiedSigs) {
		return "", "", fmt.Errorf("%w: a signature is duplicate", ErrUnsigned)
	}
	for _, k := range keys {
		if strings.HasPrefix(k, fmt.Sprintf("%s+%08x+", n.Sigs[0].Name, n.Sigs[0].Hash)) {
			return n.Text, k, nil
		}
	}
	return "", "", ErrUnsigned
}

func signers(sigs []note.Signature) string {
	names := make([]string, len(sigs))
	for i, s := range sigs {
		names[i] = fmt.Sprintf("%s+%08x", s.Name, s.Hash)
	}
	return strings.Join(names, ", ")
}
