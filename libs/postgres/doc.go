// Package postgres runs a PostgreSQL server as a child process, tuned small, for
// one data directory. The binaries are found on the machine, else fetched.
//
// It guarantees: a server is initialised completely and durably, or again from
// the start; it listens on a Unix socket that only its user may open, with a
// password, never on the network; a server left behind by a killed process is
// taken over or stopped if, and only if, it is the one of this data directory's
// postmaster.pid; a server that dies is started again; and stopping is clean
// where ten seconds suffice, and crash-safe otherwise. As root the server runs
// under another user, because PostgreSQL refuses to run as root; where that user
// cannot reach the data directory, the files live in a directory that it can, and
// the data directory holds a link to it.
//
// It fails to start with a sentence that says what to install or to set.
package postgres
