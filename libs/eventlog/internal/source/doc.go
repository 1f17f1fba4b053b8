// Package source reads the log: what is still to come, by a consumer (Follow), and a
// stretch of the past, by pulls and from the archive (Past).
//
// # What it guarantees
//
// Events are delivered in the log's order, from where the caller said, and each once. What
// the log's server no longer holds is read from the archive. A consumer that ends or falls
// silent is replaced, and reading continues where it was. A stream that does not keep the
// log's promises is refused (EnsureStream).
//
// # How it fails
//
// Past returns an error after a few tries in vain, ErrNoArchive where the archive is needed
// and there is none, and an alarm where an event is in neither. Follow tries until its
// context ends, and says on the Board what it waits for; that no number is missing is for
// the engine to check.
package source
