// Package sqlbatch merges statements that are sent together: those of one text that
// write different rows become one statement over arrays.
//
// Ask sends statements and a question after them in one round trip.
//
// # What it guarantees
//
// A merged batch leaves the same rows as the batch that it was given, in every table.
// A statement is merged only where its text shows that it is of one row, which its
// arguments name by the primary key, and that it looks at no other row. Two statements
// of one row keep their order. A statement that cannot be shown to be so is sent as it
// is, after all that came before it and before all that comes after it.
//
// It reads SQL by regular expressions, not with a parser, so it refuses whatever they
// might misread: subqueries, OR, functions of time or chance, comments, quoted names,
// placeholders or white space inside of literals, other literals than plain ones,
// tables with a second unique index. What it refuses is slower, never wrong.
//
// # How it fails
//
// An error of a merged statement names neither the row nor the statement that it is of.
// Whoever needs that sends the statements again one by one: a fold does, to find the
// event at fault. A table that changes while a Merger lives makes a new one necessary.
// Merging is off where a fold is opened with PlainSQL.
package sqlbatch
