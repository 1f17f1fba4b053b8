// Package spec reads the definitions of a repository: freshet.yaml and the files
// of datasets/ and features/. It turns them into the specs that events carry,
// with every default filled in, or into problems: each with file, line, column,
// what is wrong, and how to repair it.
//
// YAML is read as 1.2: on, off, yes and no are text, a key may occur once, and
// anchors are bounded. Nothing is ignored: a key that is not known is a problem.
// Reading never fails otherwise, takes bounded time and memory, and gives the
// same answer for the same bytes.
package spec
