package transparency

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/mod/sumdb/tlog"
)

// ErrDamaged: the tree's own file is not what was written to it. It follows from the
// records: empty it and append them again.
var ErrDamaged = errors.New("the file of the tree's hashes is damaged")

// A Tree is a Merkle tree over a list that only grows, in memory or in a file. It is
// safe for concurrent use.
type Tree struct {
	mu     sync.RWMutex
	size   int64
	kept   []Hash   // in memory; with a file, only what is not in it yet
	file   *os.File // nil in memory
	inFile int64    // hashes
}

// NewTree returns an empty tree in memory.
func NewTree() *Tree { return &Tree{} }

// OpenTree opens a tree in a file, and makes an empty one where there is none. What
// an interrupted write left at the end is dropped.
func OpenTree(path string) (*Tree, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	t := &Tree{file: f}
	stored := end / tlog.HashSize
	for step := int64(1) << 40; step > 0; step >>= 1 { // the largest whole tree in it
		if tlog.StoredHashCount(t.size+step) <= stored {
			t.size += step
		}
	}
	if err := t.Truncate(t.size); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return t, nil
}

// Close closes the file.
func (t *Tree) Close() error {
	if t.file == nil {
		return nil
	}
	return t.file.Close()
}

// Size is how many records there are.
func (t *Tree) Size() int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.size
}

// Truncate drops all records from size on.
func (t *Tree) Truncate(size int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if size > t.size {
		return fmt.Errorf("a tree of %d records cannot be cut to %d", t.size, size)
	}
	stored := tlog.StoredHashCount(size)
	if t.file == nil {
		t.kept = t.kept[:stored]
	} else {
		if err := t.file.Truncate(stored * tlog.HashSize); err != nil {
			return err
		}
		t.inFile, t.kept = stored, nil
	}
	t.size = size
	return nil
}

// Append adds records. After an error the tree is as it was.
func (t *Tree) Append(records ...[]byte) error {
	hashes := make([]Hash, len(records))
	for i, r := range records {
		hashes[i] = tlog.RecordHash(r)
	}
	return t.AppendHashes(hashes...)
}

// AppendHashes adds records by their leaves' hashes.
func (t *Tree) AppendHashes(leaves ...Hash) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	before, size := len(t.kept), t.size
	undo := func(err error) error {
		t.kept, t.size = t.kept[:before], size
		return err
	}
	for _, h := range leaves {
		more, err := tlog.StoredHashesForRecordHash(t.size, h, tlog.HashReaderFunc(t.read))
		if err != nil {
			return undo(err)
		}
		t.kept = append(t.kept, more...)
		t.size++
	}
	if t.file == nil {
		return nil
	}
	b := make([]byte, 0, len(t.kept)*tlog.HashSize)
	for _, h := range t.kept {
		b = append(b, h[:]...)
	}
	if _, err := t.file.WriteAt(b, t.inFile*tlog.HashSize); err != nil {
		return undo(err)
	}
	t.inFile += int64(len(t.kept))
	t.kept = t.kept[:0]
	return nil
}

// read returns stored hashes; the caller holds the lock.
func (t *Tree) read(indexes []int64) ([]Hash, error) {
	out := make([]Hash, len(indexes))
	for i, at := range indexes {
		if at >= t.inFile {
			if at -= t.inFile; at >= int64(len(t.kept)) {
				return nil, fmt.Errorf("the tree has no hash %d", indexes[i])
			}
			out[i] = t.kept[at]
			continue
		}
		if _, err := t.file.ReadAt(out[i][:], at*tlog.HashSize); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	return out, nil
}

// Root is the root over the first size records.
func (t *Tree) Root(size int64) (Hash, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.root(size)
}

func (t *Tree) root(size int64) (Hash, error) {
	if size < 0 || size > t.size {
		return Hash{}, fmt.Errorf("the tree has %d records, not %d", t.size, size)
	}
	return tlog.TreeHash(size, tlog.HashReaderFunc(t.read))
}

// Leaf is a record's hash in the tree.
func (t *Tree) Leaf(index int64) (Hash, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if index < 0 || index >= t.size {
		return Hash{}, fmt.Errorf("the tree has %d records, and no %d", t.size, index)
	}
	h, err := t.read([]int64{tlog.StoredHashIndex(0, index)})
	if err != nil {
		return Hash{}, err
	}
	return h[0], nil
}

// Prove returns the hashes that lead from a record to the root over the first size
// records. They have been checked: ErrDamaged where they do not lead there.
func (t *Tree) Prove(index, size int64) ([]Hash, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if size > t.size || index < 0 || index >= size {
		return nil, fmt.Errorf("the tree has %d records; there is no proof of %d among %d", t.size, index, size)
	}
	reader := tlog.HashReaderFunc(t.read)
	p, err := tlog.ProveRecord(size, index, reader)
	if err != nil {
		return nil, err
	}
	root, err := t.root(size)
	if err != nil {
		return nil, err
	}
	leaf, err := t.read([]int64{tlog.StoredHashIndex(0, index)})
	if err != nil {
		return nil, err
	}
	if tlog.CheckRecord(p, size, root, index, leaf[0]) != nil {
		return nil, ErrDamaged
	}
	return p, nil
}

// ProveGrowth returns the hashes that show that the list of size records begins with
// the list of old records.
func (t *Tree) ProveGrowth(old, size int64) ([]Hash, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if size > t.size || old < 1 || old > size {
		return nil, fmt.Errorf("the tree has %d records; there is no proof from %d to %d", t.size, old, size)
	}
	p, err := tlog.ProveTree(size, old, tlog.HashReaderFunc(t.read))
	return p, err
}

// CheckGrowth tells whether a list with one checkpoint begins with that of an older.
func CheckGrowth(older, newer Checkpoint, proof []Hash) error {
	if older.Size == newer.Size && older.Root == newer.Root {
		return nil
	}
	if older.Size < 1 || older.Size > newer.Size || tlog.CheckTree(proof, newer.Size, newer.Root, older.Size, older.Root) != nil {
		return fmt.Errorf("the checkpoint of %d records does not continue that of %d", newer.Size, older.Size)
	}
	return nil
}

// HashOf is a record's hash as a leaf.
func HashOf(record []byte) Hash { return tlog.RecordHash(record) }
