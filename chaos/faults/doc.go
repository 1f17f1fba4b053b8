// Package faults holds tests of a freshet binary, from outside: what is wrong in the log or
// beside it is done to the files and the servers of `freshet up`, and what is promised is
// asked over HTTP and on the command line.
//
// FRESHET_BIN names the binary; `make fault-tests` takes the one that was built.
// FRESHET_OLDER_BIN may name an older one, whose data directory is continued.
package faults
