package transparency

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
)

const (
	tarLimit  = 1 << 30 // bytes
	fileLimit = 4 << 20
)

// WriteTar writes the same files as the same bytes.
func WriteTar(files map[string][]byte) ([]byte, error) {
	var b bytes.Buffer
	t := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}); err != nil {
			return nil, err
		}
		if _, err := t.Write(files[name]); err != nil {
			return nil, err
		}
	}
	if err := t.Close(); err != nil { // which writes the end
		return nil, err
	}
	return b.Bytes(), nil
}

// ReadTar reads what WriteTar wrote, and nothing else: a tar's own headers are under
// no signature, so they have one spelling.
func ReadTar(r io.Reader) (map[string][]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, tarLimit+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > tarLimit {
		return nil, errors.New("it is larger than any pack")
	}
	files := map[string][]byte{}
	in := tar.NewReader(bytes.NewReader(raw))
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("it is not a pack: %w", err)
		}
		if h.Typeflag != tar.TypeReg || h.Size > fileLimit || files[h.Name] != nil {
			return nil, fmt.Errorf("it is not a pack: %q is a duplicate, too large or not a file", h.Name)
		}
		if files[h.Name], err = io.ReadAll(in); err != nil {
			return nil, fmt.Errorf("it is not a pack: %s: %w", h.Name, err)
		}
	}
	again, err := WriteTar(files)
	if err != nil {
		return nil, fmt.Errorf("it is not a pack: %w", err)
	}
	if !bytes.Equal(again, raw) {
		return nil, errors.New("the tar is not written as a suite writes it: a header, the padding or the order of its files was changed")
	}
	return files, nil
}
