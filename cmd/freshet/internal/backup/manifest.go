package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Format is what this version writes, and the newest that it reads.
const Format = 1

const (
	manifestName = "manifest.json"
	digestName   = "manifest.json.sha256"
	dataName     = "data" // where the files are, in a backup
)

// A Manifest says what a backup holds.
type Manifest struct {
	Format      int         `json:"format"`
	Freshet     string      `json:"freshet"` // version that made it
	Made        time.Time   `json:"made"`
	From        string      `json:"from"` // the data directory
	Directories []Directory `json:"directories"`
	Files       []File      `json:"files"`
	Links       []Link      `json:"links"`
}

// A Directory of the installation, its path relative to the data directory.
type Directory struct {
	Path string      `json:"path"`
	Mode fs.FileMode `json:"mode"`
}

// A File and its SHA-256.
type File struct {
	Path   string      `json:"path"`
	Mode   fs.FileMode `json:"mode"`
	Size   int64       `json:"size"`
	SHA256 string      `json:"sha256"`
}

// A Link is a symbolic link, as in a Git repository.
type Link struct {
	Path   string `json:"path"`
	Target string `json:"target"`
}

// Size is how much the files measure.
func (m *Manifest) Size() int64 {
	var n int64
	for _, f := range m.Files {
		n += f.Size
	}
	return n
}

// write writes the manifest durably; with it a backup is complete.
func (m *Manifest) write(dir string) error {
	b, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	if err := durable(filepath.Join(dir, digestName), []byte(hex.EncodeToString(sum[:])+"\n")); err != nil {
		return err
	}
	return durable(filepath.Join(dir, manifestName), b)
}

func durable(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Open reads a backup's manifest and refuses what this version cannot restore.
func Open(dir string) (*Manifest, error) {
	b, err := os.ReadFile(filepath.Join(dir, manifestName))
	if errors.Is(err, os.ErrNotExist) {
		if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
			return nil, fmt.Errorf("%s is no backup, or one that was interrupted: it has no %s", dir, manifestName)
		}
		return nil, fmt.Errorf("there is no backup in %s", dir)
	}
	if err != nil {
		return nil, err
	}
	// The format comes first: a newer one may be written in another way.
	var head struct {
		Format  int    `json:"format"`
		Freshet string `json:"freshet"`
	}
	if json.Unmarshal(b, &head) == nil && head.Format > Format {
		return nil, fmt.Errorf("the backup in %s has format %d, made by %s; this version reads up to format %d: restore it with that version or a newer one",
			dir, head.Format, head.Freshet, Format)
	}
	want, err := os.ReadFile(filepath.Join(dir, digestName))
	if err != nil {
		return nil, fmt.Errorf("the backup is damaged: its manifest's digest: %w", err)
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != strings.TrimSpace(string(want)) {
		return nil, fmt.Errorf("the backup is damaged: %s is not what was written", manifestName)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var m Manifest
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("the backup's manifest: %w", err)
	}
	if m.Format < 1 {
		return nil, fmt.Errorf("the backup's manifest has format %d", m.Format)
	}
	for _, path := range m.paths() {
		if !filepath.IsLocal(path) || filepath.ToSlash(filepath.Clean(path)) != path {
			return nil, fmt.Errorf("the backup's manifest names %q, which is outside of an installation", path)
		}
	}
	return &m, nil
}

func (m *Manifest) paths() []string {
	var all []string
	for _, d := range m.Directories {
		all = append(all, d.Path)
	}
	for _, f := range m.Files {
		all = append(all, f.Path)
	}
	for _, l := range m.Links {
		all = append(all, l.Path)
	}
	return all
}
