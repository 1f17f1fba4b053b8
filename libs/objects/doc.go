// Package objects stores bytes by their SHA-256, in a directory or any bucket
// that gocloud.dev/blob opens. Everywhere a digest is written sha256:<hex>, as events
// write it; only the place of the bytes, sha256/<2 digits>/<hex>, is not.
//
// It guarantees that a digest is returned only after the bytes are durable
// (written to a temporary file, synced, renamed, the directory synced), that
// equal bytes are stored once, and that every read is checked against the
// digest: damaged or short objects are ErrCorrupt and never given out as whole.
package objects
