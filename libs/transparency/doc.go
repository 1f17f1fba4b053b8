// Package transparency makes tampering with an append-only list of records visible:
// a Merkle tree over the records, checkpoints that somebody signs, proofs that a
// record is in it, and packs of some records with their proofs. It knows nothing of
// what the records say.
//
// The formats are others': RFC 6962 hashing (golang.org/x/mod/sumdb/tlog), signed
// notes with Ed25519 keys (sumdb/note), checkpoints and proofs as C2SP's
// tlog-checkpoint and tlog-proof write them. Tools that speak them can check what
// this package wrote.
//
// # What it guarantees
//
// A checkpoint commits its signer to every record below its size, in their order.
// Who holds a checkpoint and its signer's public key can tell any other list from
// the one that was signed, and who holds a proof needs neither the other records nor
// the signer. Everything is read strictly: a file has one spelling, so that no byte
// of it can be changed unnoticed.
//
// # What it does not
//
// A signer can show one list to one reader and another to the next; readers who
// compare checkpoints find out. Who has the signer's private key can sign a list of
// his own. A list that was cut back to an older checkpoint is only recognized by who
// kept a newer one.
package transparency
