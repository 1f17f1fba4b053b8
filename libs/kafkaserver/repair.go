package kafkaserver

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrDamaged: a file is damaged and cannot be repaired.
var ErrDamaged = errors.New("the embedded Kafka's files are damaged")

const remedy = "restore the data directory from a backup (freshet backups restore)"

// damaged refuses a start because of a file.
func damaged(path, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s; %s", ErrDamaged, path, fmt.Sprintf(format, args...), remedy)
}

// A repairer repairs the files of a stopped broker before it starts. The broker itself
// cuts a file at the first batch that is damaged, and continues at the offset that it
// noted for the file before: no reader could read past that place.
type repairer struct {
	dir    string
	copies []string
	logger *slog.Logger
	began  time.Time
}

// repair checks every file, and repairs those that need it.
func (m *repairer) repair() error {
	partitions := filepath.Join(m.dir, "partitions")
	dirs, err := os.ReadDir(partitions)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	known, err := m.topics(len(dirs) > 0)
	if err != nil {
		return err
	}
	for _, d := range dirs {
		path := filepath.Join(partitions, d.Name())
		i := strings.LastIndexByte(d.Name(), '-')
		name, err := url.PathUnescape(d.Name()[:max(i, 0)])
		compacted, ok := known[name]
		if err != nil || !ok {
			return damaged(path, "%s knows no such topic", filepath.Join(m.dir, "topics.json"))
		}
		p := &partition{repairer: m, dir: path, name: d.Name(), copied: slices.Contains(m.copies, name), compacted: compacted}
		if err := p.repair(); err != nil {
			return err
		}
	}
	return nil
}

// topics are those that the broker knows, and whether they are compacted. The
// broker's other files must be readable.
func (m *repairer) topics(used bool) (map[string]bool, error) {
	for _, name := range []string{"meta.json", "topics.json", "broker_configs.json", "acls.json", "sasl.json", "quotas.json", "seq_windows.json"} {
		path := filepath.Join(m.dir, name)
		b, err := os.ReadFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && used && (name == "meta.json" || name == "topics.json"):
			return nil, damaged(path, "it is missing")
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, damaged(path, "%v", err)
		case !json.Valid(b):
			return nil, damaged(path, "it is not valid JSON")
		}
	}
	var file struct {
		Topics []struct {
			Name    string            `json:"name"`
			Configs map[string]string `json:"configs"`
		} `json:"topics"`
	}
	if err := readJSON(filepath.Join(m.dir, "topics.json"), &file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, damaged(filepath.Join(m.dir, "topics.json"), "%v", err)
	}
	known := map[string]bool{}
	for _, t := range file.Topics {
		known[t.Name] = strings.Contains(t.Configs["cleanup.policy"], "compact")
	}
	return known, nil
}

func readJSON(path string, into any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// A snapshot is what the broker noted of a partition when it was stopped.
type snapshot struct {
	HighWatermark    int64 `json:"high_watermark"`
	LastStableOffset int64 `json:"last_stable_offset"`
	LogStartOffset   int64 `json:"log_start_offset"`
	Segments         []struct {
		BaseOffset int64 `json:"base_offset"`
		Size       int64 `json:"size"`
	} `json:"segments"`
}

// A partition that is being repaired.
type partition struct {
	*repairer
	dir, name string
	copied    bool // its records are copied again after the last one
	compacted bool // offsets may be missing

	noted   int64  // its end when the broker was stopped; -1 where it continued after that
	shorter bool   // than it was then
	next    int64  // the offset that has to follow
	gap     bool   // it does not: it is lost, up to the next whole batch
	where   string // that was found
	open    bool   // there are transactions
	changed bool
}

func (p *partition) repair() error {
	bases, size, err := p.segments()
	if err != nil {
		return err
	}
	notes := filepath.Join(p.dir, "snapshot.json")
	var noted snapshot
	err = readJSON(notes, &noted)
	for _, s := range noted.Segments {
		size -= s.Size
	}
	p.noted, p.shorter = noted.HighWatermark, size < 0
	if err != nil || size > 0 {
		p.noted = -1
	}
	if len(bases) == 0 && (p.noted < 0 || len(noted.Segments) == 0) {
		return nil
	}
	if p.copied && len(bases) > 0 && bases[0] > 0 {
		return damaged(p.dir, "the file 0.dat is missing")
	}
	if len(bases) == 0 || p.noted >= 0 && noted.LogStartOffset < bases[0] {
		bases = slices.Insert(bases, 0, noted.LogStartOffset) // its file is missing
	}
	p.next = bases[0]
	var before *segment
	for i, base := range bases {
		s := p.segment(base)
		s.before, s.limit = before, math.MaxInt64
		if i < len(bases)-1 {
			s.limit = bases[i+1] + 1
		}
		if s.file, err = os.ReadFile(s.path + ".dat"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return damaged(s.path+".dat", "%v", err)
		}
		s.walk()
		last := i == len(bases)-1
		if p.gap && p.copied {
			if err := p.drop(bases[i+1:]); err != nil {
				return err
			}
			last = true
		}
		if last {
			s.end()
		}
		if before != nil {
			if err := before.write(); err != nil {
				return err
			}
			s.before = nil
		}
		if last {
			if err := s.write(); err != nil {
				return err
			}
			break
		}
		before = s
	}
	agrees := noted.HighWatermark == p.next && noted.LogStartOffset == bases[0] && (noted.LastStableOffset == p.next || p.open)
	if p.changed || p.noted >= 0 && !agrees {
		// Without a snapshot the broker reads the partition batch by batch.
		if err := os.Remove(notes); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// drop removes the last files: their records are copied again.
func (p *partition) drop(bases []int64) (err error) {
	for _, base := range slices.Backward(bases) {
		s := p.segment(base)
		if s.file, err = os.ReadFile(s.path + ".dat"); err != nil {
			return damaged(s.path+".dat", "%v", err)
		}
		if err := s.write(); err != nil {
			return err
		}
	}
	return nil
}

// segments are the partition's files, by the offset that they begin with, and their size.
func (p *partition) segments() (bases []int64, size int64, err error) {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return nil, 0, damaged(p.dir, "%v", err)
	}
	for _, e := range entries {
		base, ok := strings.CutSuffix(e.Name(), ".dat")
		if !ok {
			continue
		}
		path := filepath.Join(p.dir, e.Name())
		n, err := strconv.ParseInt(base, 10, 64)
		if err != nil || n < 0 {
			return nil, 0, damaged(path, "its name is not an offset")
		}
		info, err := e.Info()
		if err != nil {
			return nil, 0, damaged(path, "%v", err)
		}
		bases, size = append(bases, n), size+info.Size()
	}
	slices.Sort(bases)
	return bases, size, nil
}

// A segment is one file of a partition, and beside it its index.
type segment struct {
	*partition
	path   string   // without what tells the two apart
	base   int64    // its name: the first offset
	limit  int64    // the offset before which it ends
	before *segment // the one before it

	file  []byte
	kept  int    // how many bytes stay unchanged
	out   []byte // the new content, once any byte changes
	index []byte
	bad   int  // where the gap begins in it
	torn  bool // and nothing of that was acknowledged
}

func (p *partition) segment(base int64) *segment {
	return &segment{partition: p, path: filepath.Join(p.dir, strconv.FormatInt(base, 10)), base: base}
}

// walk goes through the file, batch by batch.
func (s *segment) walk() {
	for at := 0; at < len(s.file); {
		b, whole := batchAt(s.file, at)
		if whole && at == 0 && s.before != nil && !s.gap && !s.compacted && b.first == s.base && b.first > s.next {
			s.markGap(at, "a file before %s.dat is shorter than it was", s.path)
		}
		if !whole && !s.gap {
			s.markGap(at, "%s.dat is damaged at byte %d", s.path, at)
		}
		if s.gap && s.copied {
			return
		}
		if !whole || s.gap && (b.first <= s.next || b.first >= s.limit || b.first-s.next > math.MaxInt32) {
			at++
			continue
		}
		if s.gap {
			s.fillGap(b.first)
		}
		s.keep(b)
		at += b.size
	}
}

// markGap notes that the next offset is missing.
func (s *segment) markGap(at int, format string, args ...any) {
	s.gap, s.bad, s.where = true, at, fmt.Sprintf(format, args...)
}

// keep accepts a whole batch. Where no batch is missing before it, its offset must be the
// next one, and a different offset is damage.
func (s *segment) keep(b batch) {
	raw := s.file[b.at : b.at+b.size]
	if b.first < s.next || b.first > s.next && !s.compacted {
		s.logger.Warn("records of the embedded Kafka had a damaged offset, which is repaired", "file", s.path+".dat", "byte", b.at, "was", b.first, "is", s.next)
		raw = slices.Clone(raw)
		binary.BigEndian.PutUint64(raw, uint64(s.next)) //nolint:gosec // not negative
		b.next += s.next - b.first
		s.add(raw)
	} else if s.out == nil && s.kept == b.at {
		s.kept += b.size
		s.note(raw)
	} else {
		s.add(raw)
	}
	s.next = b.next
}

// add appends a batch to the new content.
func (s *segment) add(raw []byte) {
	if s.out == nil {
		s.out = slices.Clone(s.file[:s.kept])
	}
	s.out = append(s.out, raw...)
	s.note(raw)
}

// note adds a batch's entry to the index: a version, a checksum, an epoch, a time that
// the broker finds out by itself, and whether the batch is of a transaction.
func (s *segment) note(raw []byte) {
	entry := make([]byte, indexEntry)
	entry[0] = 1
	binary.LittleEndian.PutUint32(entry[2:], binary.BigEndian.Uint32(raw[epochAt:]))
	if attributes := binary.BigEndian.Uint16(raw[attributesAt:]); attributes&transactional != 0 && attributes&control == 0 {
		entry[indexEntry-1], s.open = 1, true
	}
	entry[1] = byte(crc32.Checksum(entry[2:], castagnoli)) //nolint:gosec // its low byte
	s.index = append(s.index, entry...)
}

// fillGap writes a placeholder for lost records, up to an offset.
func (s *segment) fillGap(next int64) {
	what := span(s.next, next)
	s.logger.Error("records of the embedded Kafka are lost", "partition", s.name, "lost", what, "reason", s.where, "damaged_files", s.backupDir())
	at := s
	if s.before != nil && s.next < s.base {
		at = s.before // this segment's name is its first offset
	}
	at.add(placeholder(s.next, next, fmt.Sprintf("freshet: %s of %s were lost: %s", what, s.name, s.where)))
	s.next, s.gap = next, false
}

// end ends the last file that stays of the partition.
func (s *segment) end() {
	if !s.gap && s.shorter && s.noted > s.next {
		s.markGap(len(s.file), "%s.dat is shorter than it was", s.path)
	}
	rest := s.file[min(s.bad, len(s.file)):]
	switch {
	case !s.gap:
	case s.noted < 0 && s.limit == math.MaxInt64 && len(rest) > 0 && torn(rest):
		s.logger.Warn("the embedded Kafka was stopped during a write; the incomplete batch, which was never acknowledged, is removed", "file",
			s.path+".dat", "byte", s.bad)
		s.gap, s.torn = false, true
	case s.copied:
		s.logger.Error("a file of the embedded Kafka is damaged; the partition now ends before the damage, and the records after it must be copied again",
			"partition", s.name, "ends_at", s.next, "reason", s.where, "damaged_files", s.backupDir())
		s.changed = true
	case s.noted > s.next && s.noted-s.next <= math.MaxInt32:
		s.fillGap(s.noted)
	default: // more offsets than may have been used: no used offset is assigned again
		s.fillGap(s.next + int64(max(len(rest), 1)))
	}
}

// backupDir is where copies of damaged files are stored.
func (s *segment) backupDir() string {
	return filepath.Join(s.repairer.dir, "damaged", s.began.UTC().Format("20060102T150405.000"), s.name)
}

// write writes the repaired file and its index.
func (s *segment) write() error {
	content := s.out
	if content == nil {
		content = s.file[:s.kept]
	}
	s.changed = s.changed || s.out != nil || s.kept < len(s.file)
	switch {
	case s.out == nil && s.kept == len(s.file):
	case s.out == nil && s.torn && s.kept > 0:
		if err := os.Truncate(s.path+".dat", int64(s.kept)); err != nil { // on a full disk too
			return err
		}
	default:
		if err := os.MkdirAll(s.backupDir(), 0o700); err != nil {
			return fmt.Errorf("backing up a damaged file: %w", err)
		}
		if err := replace(filepath.Join(s.backupDir(), filepath.Base(s.path)+".dat"), s.file); err != nil {
			return fmt.Errorf("backing up a damaged file: %w", err)
		}
		if err := replace(s.path+".dat", content); err != nil {
			return err
		}
	}
	old, err := os.ReadFile(s.path + ".idx")
	if err == nil && sameIndex(old, s.index) || errors.Is(err, fs.ErrNotExist) && len(content) == 0 {
		return nil
	}
	return replace(s.path+".idx", s.index)
}

// sameIndex reports whether an index has the right entry for every batch.
func sameIndex(old, index []byte) bool {
	if len(old) != len(index) {
		return false
	}
	for at := 0; at < len(old); at += indexEntry {
		entry := old[at : at+indexEntry]
		if entry[1] != byte(crc32.Checksum(entry[2:], castagnoli)) || entry[indexEntry-1] != index[at+indexEntry-1] { //nolint:gosec // its low byte
			return false
		}
	}
	return true
}

// replace replaces a file atomically, or removes it where the new content is empty.
func replace(path string, content []byte) error {
	if len(content) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return syncDir(filepath.Dir(path))
	}
	f, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644) // the broker removes it if this is interrupted
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
