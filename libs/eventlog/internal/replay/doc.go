// Package replay folds a service's log again, side by side with the live fold: to put the
// result in its place (Rebuild, Renew), to compare it (Verify), or to see what would have
// been decided (Trial).
//
// # What it guarantees
//
// A shadow fold is the same fold in a schema of its own. It applies what was decided then,
// at the positions where it was, and adds nothing to the log; effects and timers that it
// opens are rows, and stay rows until a swap. A rebuild is swapped in by one transaction,
// at a position that nobody moves meanwhile. A verification compares every decision with
// the recorded one and the log's, and every table with the live one at one position.
//
// # How it fails
//
// A replay that fails or is killed leaves what is live as it was; Tidy drops what it left.
// One rebuild or verification of a service runs at a time (ErrReplaying), and only the
// process that leads rebuilds (ErrNotLeading). An event that the same version cannot apply
// again ends a rebuild that somebody asked for, and is a difference to a verification; one
// that a new version cannot apply is parked, as if it came live.
package replay
