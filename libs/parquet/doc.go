// Package parquet holds tables column by column and keeps them in Parquet files.
//
// A Table is what Freshet's services pass between SQL, joins, models and files:
// typed slices of equal length with an optional mask of what is missing. It is
// never row by row.
//
// Read widens what a file may hold to five kinds: whole numbers to int64, floats
// and decimals to float64, text and binary to string, booleans, and timestamps
// and dates to microseconds since 1970 in UTC. A column of any other type is an
// UnsupportedError when it is asked for; columns that are not asked for are not
// read. A file that is not Parquet, or is cut short, is an error, never a table
// with fewer rows.
//
// Write is deterministic: the same table gives the same bytes, so that equal
// results have equal digests.
package parquet
