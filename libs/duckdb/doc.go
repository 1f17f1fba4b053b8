// Package duckdb runs SQL over files and columns, in process and within limits.
//
// An Engine opens Sessions. A session is a database of its own, in memory: load
// what the SQL may see (Files, Load, Exec), Seal it, then run SQL that users
// wrote with Select. In a sealed session no file besides those named, no network,
// no extension and no setting can be reached, and Select runs exactly one SELECT;
// nothing a user writes can change anything or look outside.
//
// Nothing is open until the first session, and a closed session gives all of its
// memory back. Sessions beyond Options.Sessions wait. A query ends when its
// context does. Errors are *Error: a Kind to branch on and DuckDB's own sentence
// without the driver's prefixes.
package duckdb
