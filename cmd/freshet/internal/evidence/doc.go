// Package evidence verifies what a suite recorded without the suite: a copy of the
// whole log, the archive's topic, or a pack about one model. It trusts nothing but
// public keys that the reader has from elsewhere.
//
// A copy of the log is a directory:
//
//	events-<first sequence, 20 digits>.jsonl   10,000 events each, one per line:
//	    {"sequence":1,"digest":"sha256:…","event":"{\"specversion\":…"}
//	checkpoint                                 a signed checkpoint over exactly these events
//	key                                        the public key, to be compared with the published one
//
// The event is a JSON string, so that any JSON tool gets at the exact bytes that
// were recorded and signed (jq -r .event). Each line has one spelling, and the
// checkpoint covers every event: no byte of the directory can be changed, and no
// line dropped, repeated or moved, unnoticed.
package evidence
