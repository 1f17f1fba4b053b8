package kafkaserver

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"time"
)

// A segment file is record batches of Kafka's format 2, one behind another. Their
// checksums cover everything from the attributes on: what comes before, the first
// offset above all, only fits or does not fit to what is around it.
const (
	lengthAt     = 8
	epochAt      = 12
	magicAt      = 16
	checksumAt   = 17
	attributesAt = 21
	lastDeltaAt  = 23
	maxTimeAt    = 35
	countAt      = 57
	recordsAt    = 61
	magic        = 2

	transactional, control = 0x10, 0x20

	indexEntry = 15 // bytes of a batch's entry in the index beside the file
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A batch is one in a segment file.
type batch struct {
	at, size    int   // in the file
	first, next int64 // offsets: of its first record, behind its last one
}

// batchAt reads the batch at a place of a file; ok where it is whole.
func batchAt(file []byte, at int) (b batch, ok bool) {
	rest := file[at:]
	if len(rest) < recordsAt || rest[magicAt] != magic {
		return b, false
	}
	b = batch{at: at, size: claimed(rest), first: int64(binary.BigEndian.Uint64(rest))} //nolint:gosec // as it was written
	if b.size < recordsAt || b.size > len(rest) || !sound(rest[:b.size]) {
		return b, false
	}
	delta := int32(binary.BigEndian.Uint32(rest[lastDeltaAt:])) //nolint:gosec // as it was written
	b.next = b.first + int64(delta) + 1
	return b, b.first >= 0 && b.next > b.first
}

// claimed is the length that the batch at the beginning of the bytes claims to have.
func claimed(rest []byte) int { return lengthAt + 4 + int(binary.BigEndian.Uint32(rest[lengthAt:])) }

func sound(b []byte) bool {
	return crc32.Checksum(b[attributesAt:], castagnoli) == binary.BigEndian.Uint32(b[checksumAt:])
}

// torn reports whether the end of the last segment file, which is not a whole batch, is a
// torn write: a process or a machine stopped during it, so it was never acknowledged.
func torn(rest []byte) bool {
	if len(rest) < recordsAt || !slices.ContainsFunc(rest, func(c byte) bool { return c != 0 }) {
		return true
	}
	for at := range rest {
		if _, whole := batchAt(rest, at); whole {
			return false // more was written behind it
		}
	}
	// Where the checksum is right it is all there, and its length is wrong.
	return claimed(rest) > len(rest) && !sound(rest)
}

// placeholder makes a batch for offsets whose batches were lost, so that the offsets are
// not assigned again. It has one record, at the last of them, whose value describes the
// loss. A reader that was past the gap misses nothing; any other reads the description.
func placeholder(first, next int64, text string) []byte {
	delta := next - first - 1
	var record []byte
	record = append(record, 0)                  // attributes
	record = binary.AppendVarint(record, 0)     // time, after the batch's
	record = binary.AppendVarint(record, delta) // offset, after the batch's
	record = binary.AppendVarint(record, -1)    // no key
	record = binary.AppendVarint(record, int64(len(text)))
	record = append(record, text...)
	record = binary.AppendVarint(record, 0) // no headers
	record = append(binary.AppendVarint(nil, int64(len(record))), record...)

	b := make([]byte, recordsAt, recordsAt+len(record))
	b = append(b, record...)
	now := uint64(time.Now().UnixMilli())                               //nolint:gosec // after 1970
	binary.BigEndian.PutUint64(b, uint64(first))                        //nolint:gosec // not negative
	binary.BigEndian.PutUint32(b[lengthAt:], uint32(len(b)-lengthAt-4)) //nolint:gosec // short
	b[magicAt] = magic
	binary.BigEndian.PutUint32(b[lastDeltaAt:], uint32(delta)) //nolint:gosec // the caller's limit
	binary.BigEndian.PutUint64(b[maxTimeAt-8:], now)
	binary.BigEndian.PutUint64(b[maxTimeAt:], now)
	for i := maxTimeAt + 8; i < countAt; i++ {
		b[i] = 0xff // no producer
	}
	binary.BigEndian.PutUint32(b[countAt:], 1)
	binary.BigEndian.PutUint32(b[checksumAt:], crc32.Checksum(b[attributesAt:], castagnoli))
	return b
}

func span(first, next int64) string {
	if next == first+1 {
		return fmt.Sprintf("the record at offset %d", first)
	}
	return fmt.Sprintf("the records at offsets %d to %d", first, next-1)
}
