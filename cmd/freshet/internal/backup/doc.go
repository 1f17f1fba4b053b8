// Package backup copies a whole installation and brings it back: PostgreSQL's
// files, the log's store, Kafka's, objects, keys, whatever services keep.
//
// It guarantees that a backup is of one instant: it is taken under the data
// directory's lock, of a suite that is stopped (or was killed: then its servers
// recover from the copy as they would have from the original). A backup is
// complete when its manifest is there, which is written last, with the digest of
// every file. Restoring checks every digest, writes to an empty place only, and
// leaves nothing behind where it fails.
//
// Left out is what a start makes anew: locks, sockets, temporary files, logs of
// servers, and the environments of services in processes of their own.
//
// It fails, and says why, on a suite that runs, a PostgreSQL that was left
// running, a PostgreSQL that is elsewhere (FRESHET_POSTGRES_URL), a target that is
// not empty, a manifest of a newer format, and every file that is missing,
// shortened or altered.
package backup
