package objects

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/gcerrors"
)

// Errors that callers tell apart.
var (
	// ErrNotFound: no object has this digest.
	ErrNotFound = errors.New("no such object")
	// ErrCorrupt: the stored bytes do not have the digest.
	ErrCorrupt = errors.New("the object is damaged")
	// ErrTooLarge: the object is larger than the caller takes.
	ErrTooLarge = errors.New("the object is too large")
	// ErrBadDigest: a digest is not written as digests are.
	ErrBadDigest = errors.New("a digest is sha256: and 64 lower-case hexadecimal digits")
)

// algorithm stands before a digest's hexadecimal digits.
const algorithm = "sha256:"

// A Ref names an object.
type Ref struct {
	Digest string // sha256: and lower-case hexadecimal digits
	Size   int64
}

// Store is a content-addressed store. It is safe for concurrent use, also by
// several processes on one directory.
type Store struct {
	bucket *blob.Bucket
	root   string // of a directory store, else empty
	temp   string // local, on the same file system as root
	owned  bool   // temp is removed by Close
}

// Open opens the store at a directory, which it creates, or at a bucket's URL
// (s3://…, gs://…, azblob://…: the binary must have the driver).
func Open(ctx context.Context, location string) (*Store, error) {
	if strings.Contains(location, "://") && !strings.HasPrefix(location, "file://") {
		bucket, err := blob.OpenBucket(ctx, location)
		if err != nil {
			return nil, fmt.Errorf("opening the objects: %w", err)
		}
		temp, err := os.MkdirTemp("", "freshet-objects-")
		if err != nil {
			return nil, errors.Join(fmt.Errorf("opening the objects: %w", err), bucket.Close())
		}
		return &Store{bucket: bucket, temp: temp, owned: true}, nil
	}
	root, err := filepath.Abs(strings.TrimPrefix(location, "file://"))
	if err != nil {
		return nil, fmt.Errorf("opening the objects: %w", err)
	}
	temp := filepath.Join(root, "tmp")
	for _, dir := range []string{root, filepath.Join(root, "sha256"), temp} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("opening the objects: %w", err)
		}
	}
	if err := syncDir(root); err != nil {
		return nil, err
	}
	bucket, err := fileblob.OpenBucket(root, &fileblob.Options{Metadata: fileblob.MetadataDontWrite})
	if err != nil {
		return nil, fmt.Errorf("opening the objects: %w", err)
	}
	return &Store{bucket: bucket, root: root, temp: temp}, nil
}

// Put stores what r yields.
func (s *Store) Put(ctx context.Context, r io.Reader) (ref Ref, err error) {
	f, err := os.CreateTemp(s.temp, "put-")
	if err != nil {
		return Ref{}, fmt.Errorf("storing an object: %w", err)
	}
	defer func() {
		_ = f.Close()           // closed before; only the way out of an error leaves it open
		_ = os.Remove(f.Name()) // renamed on the good path
	}()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), readerWithContext{ctx, r})
	if err != nil {
		return Ref{}, fmt.Errorf("storing an object: %w", err)
	}
	ref = Ref{Digest: digestOf(sum), Size: n}
	if s.root == "" {
		return ref, s.upload(ctx, f, ref)
	}
	return ref, s.keep(f, ref)
}

// keep makes a temporary file the object: synced, renamed, the directory synced.
func (s *Store) keep(f *os.File, ref Ref) error {
	if err := f.Chmod(0o444); err != nil {
		return fmt.Errorf("storing an object: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("storing an object: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("storing an object: %w", err)
	}
	path := s.path(ref.Digest)
	dir := filepath.Dir(path)
	if err := os.Mkdir(dir, 0o755); err == nil {
		if err := syncDir(filepath.Dir(dir)); err != nil {
			return err
		}
	} else if !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("storing an object: %w", err)
	}
	// Over an equal one: this also repairs a damaged object.
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("storing an object: %w", err)
	}
	return syncDir(dir)
}

func (s *Store) upload(ctx context.Context, f *os.File, ref Ref) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("storing an object: %w", err)
	}
	err := s.bucket.Upload(ctx, key(ref.Digest), f, &blob.WriterOptions{ContentType: "application/octet-stream"})
	if err != nil {
		return fmt.Errorf("storing object %s: %w", ref.Digest, err)
	}
	return nil
}

// PutBytes stores b.
func (s *Store) PutBytes(ctx context.Context, b []byte) (Ref, error) {
	return s.Put(ctx, bytes.NewReader(b))
}

// Get returns an object of at most limit bytes, verified.
func (s *Store) Get(ctx context.Context, digest string, limit int64) ([]byte, error) {
	r, err := s.open(ctx, digest)
	if err != nil {
		return nil, err
	}
	defer r.Close() //nolint:errcheck // nothing was written
	if r.size > limit {
		return nil, fmt.Errorf("%w: %s has %d bytes, at most %d are taken", ErrTooLarge, digest, r.size, limit)
	}
	b := make([]byte, 0, r.size+1)
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			return b, nil
		}
		if err != nil {
			return nil, err
		}
		if int64(len(b)) > limit {
			return nil, fmt.Errorf("%w: %s has more than %d bytes", ErrTooLarge, digest, limit)
		}
	}
}

// Open reads an object; the read that meets its end fails with ErrCorrupt where
// the bytes do not have the digest.
func (s *Store) Open(ctx context.Context, digest string) (io.ReadCloser, error) {
	return s.open(ctx, digest)
}

func (s *Store) open(ctx context.Context, digest string) (*reader, error) {
	if !valid(digest) {
		return nil, fmt.Errorf("%w: %.80q", ErrBadDigest, digest)
	}
	r, err := s.bucket.NewReader(ctx, key(digest), nil)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, digest)
	}
	if err != nil {
		return nil, fmt.Errorf("opening object %s: %w", digest, err)
	}
	return &reader{r: r, size: r.Size(), sum: sha256.New(), digest: digest}, nil
}

// File returns the path of a verified, read-only local file with the object. It
// stays valid until the store is closed.
func (s *Store) File(ctx context.Context, digest string) (string, error) {
	r, err := s.open(ctx, digest)
	if err != nil {
		return "", err
	}
	defer r.Close() //nolint:errcheck // nothing was written
	if s.root != "" {
		if _, err := io.Copy(io.Discard, r); err != nil {
			return "", err
		}
		return s.path(digest), nil
	}
	f, err := os.CreateTemp(s.temp, "file-")
	if err != nil {
		return "", fmt.Errorf("fetching object %s: %w", digest, err)
	}
	path := filepath.Join(s.temp, digits(digest))
	_, err = io.Copy(f, r)
	err = errors.Join(err, f.Chmod(0o444), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return "", fmt.Errorf("fetching object %s: %w", digest, err)
	}
	return path, nil
}

// Close releases the store.
func (s *Store) Close() error {
	err := s.bucket.Close()
	if s.owned {
		err = errors.Join(err, os.RemoveAll(s.temp))
	}
	return err
}

func (s *Store) path(digest string) string {
	return filepath.Join(s.root, filepath.FromSlash(key(digest)))
}

// key is where an object is in the bucket.
func key(digest string) string {
	d := digits(digest)
	return "sha256/" + d[:2] + "/" + d
}

func digits(digest string) string { return strings.TrimPrefix(digest, algorithm) }

func digestOf(sum hash.Hash) string { return algorithm + hex.EncodeToString(sum.Sum(nil)) }

func valid(digest string) bool {
	d, ok := strings.CutPrefix(digest, algorithm)
	if !ok || len(d) != 2*sha256.Size {
		return false
	}
	for _, c := range []byte(d) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	return nil
}

// reader hashes what it gives out and checks the digest before it says EOF.
type reader struct {
	r      io.ReadCloser
	size   int64
	sum    hash.Hash
	digest string
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.sum.Write(p[:n])
	if errors.Is(err, io.EOF) && digestOf(r.sum) != r.digest {
		return n, fmt.Errorf("%w: %s", ErrCorrupt, r.digest)
	}
	return n, err
}

func (r *reader) Close() error { return r.r.Close() }

// readerWithContext stops a copy when its context ends.
type readerWithContext struct {
	ctx context.Context
	r   io.Reader
}

func (r readerWithContext) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
