package transparency

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Names of a pack's files.
const (
	packStatement  = "statement"
	packKey        = "key"
	packCheckpoint = "checkpoint"
	packRecords    = "records/"
	packProofs     = "proofs/"
	packHeader     = "freshet-pack/1"
)

// A Pack is some records of a list, each with its proof against one checkpoint, and
// a signed statement of what is in it and what it is about. So a reader sees that
// nothing was changed and that nothing was left out.
type Pack struct {
	About      []string // lines such as "model flight-delays"
	Checkpoint string   // a signed note
	Records    []Record // by their index
}

// A Record is one of a list, with its proof.
type Record struct {
	Index  int64
	Data   []byte
	Hashes []Hash
}

// Files are the pack's files: the statement, the checkpoint, the public key, every
// record as it is, and its proof beside it. The records' indexes rise.
func (p Pack) Files(k Key) (map[string][]byte, error) {
	files := map[string][]byte{packCheckpoint: []byte(p.Checkpoint), packKey: []byte(k.Public() + "\n")}
	last := int64(-1)
	for _, r := range p.Records {
		if r.Index <= last {
			return nil, fmt.Errorf("record %d of a pack follows record %d", r.Index, last)
		}
		last = r.Index
		files[recordName(r.Index)] = r.Data
		files[proofName(r.Index)] = Proof{Index: r.Index, Hashes: r.Hashes, Checkpoint: p.Checkpoint}.Format()
	}
	for _, line := range p.About {
		if line == "" || strings.ContainsAny(line, "\r\n") {
			return nil, fmt.Errorf("a pack cannot be about %q", line)
		}
	}
	statement, err := k.sign(p.statement(files))
	files[packStatement] = []byte(statement)
	return files, err
}

// statement names what the pack is about, and every file with its SHA-256.
func (p Pack) statement(files map[string][]byte) string {
	var b strings.Builder
	b.WriteString(packHeader + "\n")
	for _, line := range p.About {
		b.WriteString(line + "\n")
	}
	b.WriteString("files " + strconv.Itoa(len(files)) + "\n")
	for _, name := range slices.Sorted(maps.Keys(files)) {
		sum := sha256.Sum256(files[name])
		b.WriteString(hex.EncodeToString(sum[:]) + "  " + name + "\n")
	}
	return b.String()
}

func recordName(index int64) string { return fmt.Sprintf("%s%020d.json", packRecords, index+1) }
func proofName(index int64) string  { return fmt.Sprintf("%s%020d%s", packProofs, index+1, ProofSuffix) }

// PackKey is the public key that a pack brings along. It is worth nothing until it
// is compared with the one that its owner published.
func PackKey(files map[string][]byte) (string, error) {
	keys, err := ParseKeys(string(files[packKey]))
	if err != nil || len(keys) != 1 {
		return "", errors.Join(errors.New("the pack's own public key cannot be read"), err)
	}
	return keys[0], nil
}

// OpenPack checks a pack and returns it with its checkpoint and the key that signed
// it. The error names every file at fault.
func OpenPack(files map[string][]byte, keys ...string) (Pack, Checkpoint, string, error) {
	var p Pack
	text, key, err := openNote(string(files[packStatement]), keys)
	if err != nil {
		return p, Checkpoint{}, "", fmt.Errorf("the pack's statement: %w", err)
	}
	named := maps.Clone(files)
	delete(named, packStatement)
	if p.About, err = readStatement(text); err != nil {
		return p, Checkpoint{}, key, err
	}
	if err := compareStatement(text, p.statement(named)); err != nil {
		return p, Checkpoint{}, key, err
	}
	p.Checkpoint = string(files[packCheckpoint])
	c, _, err := OpenCheckpoint(p.Checkpoint, key)
	if err != nil {
		return p, c, key, err
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if !strings.HasPrefix(name, packRecords) {
			continue
		}
		r, err := p.record(c, files, name)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			continue
		}
		p.Records = append(p.Records, r)
	}
	return p, c, key, errors.Join(errs...)
}

func (p Pack) record(c Checkpoint, files map[string][]byte, name string) (Record, error) {
	number, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(name, packRecords), ".json"), 10, 64)
	if err != nil || number < 1 || recordName(number-1) != name {
		return Record{}, errors.New("it is not named as a record")
	}
	r := Record{Index: number - 1, Data: files[name]}
	proof, err := ParseProof(files[proofName(r.Index)])
	switch {
	case err != nil:
		return r, err
	case proof.Index != r.Index || proof.Checkpoint != p.Checkpoint || proof.Record != nil:
		return r, errors.New("the proof beside it is another record's or checkpoint's")
	}
	r.Hashes = proof.Hashes
	return r, proof.check(c, r.Data)
}

func readStatement(text string) (about []string, err error) {
	for i, line := range strings.Split(text, "\n") {
		switch {
		case i == 0 && line != packHeader:
			return nil, fmt.Errorf("the statement is not a pack's: it begins with %q", shortened(line))
		case strings.HasPrefix(line, "files "):
			return about, nil
		case i > 0:
			about = append(about, line)
		}
	}
	return nil, errors.New("the statement names no files")
}

// compareStatement says which files differ from what was signed.
func compareStatement(signed, found string) error {
	if signed == found {
		return nil
	}
	var errs []error
	was, is := digests(signed), digests(found)
	for _, name := range slices.Sorted(maps.Keys(was)) {
		switch {
		case is[name] == "":
			errs = append(errs, fmt.Errorf("%s: it is missing", name))
		case is[name] != was[name]:
			errs = append(errs, fmt.Errorf("%s: it was changed: its SHA-256 is %s and was %s", name, is[name], was[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(is)) {
		if was[name] == "" {
			errs = append(errs, fmt.Errorf("%s: it is not one of the pack's files", name))
		}
	}
	if len(errs) == 0 {
		errs = append(errs, errors.New("the statement is not written as a suite writes it"))
	}
	return errors.Join(errs...)
}

func digests(statement string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(statement) {
		if digest, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  "); ok {
			m[name] = digest
		}
	}
	return m
}
