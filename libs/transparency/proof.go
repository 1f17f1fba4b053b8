package transparency

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// ProofSuffix is what the names of files with proofs end with.
const ProofSuffix = ".tlog-proof"

const proofHeader = "c2sp.org/tlog-proof@v1\n"

// A Proof shows that a record is in the list that a checkpoint commits to.
type Proof struct {
	Index      int64  // of the record, from 0
	Record     []byte // nil where it is kept elsewhere
	Hashes     []Hash // from the record to the root
	Checkpoint string // a signed note
}

// Format writes the proof as C2SP's tlog-proof, the record as its extra data.
func (p Proof) Format() []byte {
	var b bytes.Buffer
	b.WriteString(proofHeader)
	if p.Record != nil {
		b.WriteString("extra " + base64.StdEncoding.EncodeToString(p.Record) + "\n")
	}
	b.WriteString("index " + strconv.FormatInt(p.Index, 10) + "\n")
	for _, h := range p.Hashes {
		b.WriteString(base64.StdEncoding.EncodeToString(h[:]) + "\n")
	}
	b.WriteString("\n" + p.Checkpoint)
	return b.Bytes()
}

// ParseProof reads what Format wrote, and nothing else.
func ParseProof(b []byte) (Proof, error) {
	var p Proof
	text, ok := strings.CutPrefix(string(b), proofHeader)
	head, checkpoint, ok2 := strings.Cut(text, "\n\n")
	if !ok || !ok2 {
		return p, errors.New("the file is not a proof: it does not begin with " + strings.TrimSpace(proofHeader) + ", or ends early")
	}
	lines := strings.Split(head, "\n")
	if extra, ok := strings.CutPrefix(lines[0], "extra "); ok {
		record, err := base64.StdEncoding.Strict().DecodeString(extra)
		if err != nil {
			return p, fmt.Errorf("the proof's record: %w", err)
		}
		p.Record, lines = append([]byte{}, record...), lines[1:]
	}
	if len(lines) == 0 || !strings.HasPrefix(lines[0], "index ") {
		return p, errors.New("the proof has no index")
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[0], "index "), 10, 64)
	if err != nil || index < 0 {
		return p, fmt.Errorf("the proof's %q is not an index", shortened(lines[0]))
	}
	p.Index, p.Checkpoint = index, checkpoint
	for _, line := range lines[1:] {
		h, err := parseHash(line)
		if err != nil {
			return p, fmt.Errorf("the proof: %w", err)
		}
		p.Hashes = append(p.Hashes, h)
	}
	if !bytes.Equal(p.Format(), b) {
		return p, errors.New("the proof is not written as a suite writes it")
	}
	return p, nil
}

// Check tells whether the record is in the list that one of the keys signed. It
// returns the checkpoint and the key.
func (p Proof) Check(record []byte, keys ...string) (Checkpoint, string, error) {
	c, key, err := OpenCheckpoint(p.Checkpoint, keys...)
	if err != nil {
		return c, key, err
	}
	return c, key, p.check(c, record)
}

func (p Proof) check(c Checkpoint, record []byte) error {
	if p.Index >= c.Size || tlog.CheckRecord(p.Hashes, c.Size, c.Root, p.Index, tlog.RecordHash(record)) != nil {
		return fmt.Errorf("the record is not number %d of the %d that the checkpoint commits to", p.Index+1, c.Size)
	}
	return nil
}
