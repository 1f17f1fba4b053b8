package transparency

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// A Key signs. Its name is the origin of what it signs.
type Key struct {
	signer note.Signer
	public string
}

// NewKey makes a key with a name of one word.
func NewKey(name string) (Key, error) {
	private, _, err := newKey(name)
	if err != nil {
		return Key{}, err
	}
	return parseKey(private)
}

func newKey(name string) (private, public string, err error) {
	if name == "" || strings.ContainsAny(name, "+ \t\r\n") {
		return "", "", fmt.Errorf("the name of a signing key is %q; it is one word without +", name)
	}
	return note.GenerateKey(rand.Reader, name)
}

// LoadKey reads the key in a file, or makes one there that only its owner can read.
func LoadKey(path, name string) (Key, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return createKey(path, name)
	}
	if err != nil {
		return Key{}, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return Key{}, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return Key{}, fmt.Errorf("the signing key %s can be read by others (mode %o): chmod 600 it, and replace it if somebody may have", path, mode)
	}
	k, err := parseKey(strings.TrimSpace(string(b)))
	if err != nil {
		return Key{}, fmt.Errorf("the signing key %s: %w", path, err)
	}
	return k, nil
}

// createKey writes a key whole or not at all; of two that start at once, one wins
// and both use it.
func createKey(path, name string) (Key, error) {
	private, _, err := newKey(name)
	if err != nil {
		return Key{}, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return Key{}, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return Key{}, err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone or in the way; nobody reads it
	_, err = f.WriteString(private + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return Key{}, err
	}
	if err := os.Link(f.Name(), path); errors.Is(err, fs.ErrExist) {
		return LoadKey(path, name)
	} else if err != nil {
		return Key{}, err
	}
	return parseKey(private)
}

func parseKey(private string) (Key, error) {
	signer, err := note.NewSigner(private)
	if err != nil {
		return Key{}, errors.New("it is not a signing key: PRIVATE+KEY+<name>+<hash>+<key>")
	}
	parts := strings.SplitN(private, "+", 5) // the last may contain one more
	seed, err := base64.StdEncoding.DecodeString(parts[len(parts)-1])
	if err != nil || len(seed) != 1+ed25519.SeedSize {
		return Key{}, errors.New("it is not an Ed25519 key")
	}
	public, ok := ed25519.NewKeyFromSeed(seed[1:]).Public().(ed25519.PublicKey)
	if !ok {
		return Key{}, errors.New("it is not an Ed25519 key")
	}
	text, err := note.NewEd25519VerifierKey(signer.Name(), public)
	if err != nil {
		return Key{}, err
	}
	return Key{signer: signer, public: text}, nil
}

// Name is the key's name.
func (k Key) Name() string { return k.signer.Name() }

// Public is the public key, as it is published: <name>+<hash>+<key>.
func (k Key) Public() string { return k.public }

// ID names the key in a word: its name and hash.
func (k Key) ID() string { return KeyID(k.public) }

// KeyID names a public key in a word: its name and hash.
func KeyID(public string) string {
	name, rest, _ := strings.Cut(public, "+")
	hash, _, _ := strings.Cut(rest, "+")
	return name + "+" + hash
}

// ParseKeys reads public keys, one per line.
func ParseKeys(text string) ([]string, error) {
	var keys []string
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		if _, err := verifier(line); err != nil {
			return nil, err
		}
		keys = append(keys, line)
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no public key: it is one line, <name>+<hash>+<key>")
	}
	return keys, nil
}

// verifier reads a public key in its one spelling.
func verifier(public string) (note.Verifier, error) {
	v, err := note.NewVerifier(public)
	if err != nil {
		return nil, fmt.Errorf("%q is not a public key, <name>+<hash>+<key>", shortened(public))
	}
	_, key, _ := strings.Cut(public[len(v.Name())+1:], "+")
	b, err := base64.StdEncoding.Strict().DecodeString(key)
	if err != nil || public != fmt.Sprintf("%s+%08x+%s", v.Name(), v.KeyHash(), base64.StdEncoding.EncodeToString(b)) {
		return nil, fmt.Errorf("the public key %q is not written as its owner writes it", shortened(public))
	}
	return v, nil
}

func verifiers(keys []string) (note.Verifiers, error) {
	list := make([]note.Verifier, len(keys))
	for i, k := range keys {
		v, err := verifier(k)
		if err != nil {
			return nil, err
		}
		list[i] = v
	}
	return note.VerifierList(list...), nil
}

func shortened(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}
