// Package flightdelays is the flight-delays example as data: the model's
// repository as it is first committed, the change that is committed later, and
// a month of real flights, one Parquet file a day.
package flightdelays

import "embed"

// Model is the model's Git repository at its first commit, under model/.
//
//go:embed all:model
var Model embed.FS

// Change is what the second commit adds and replaces, under change/.
//
//go:embed all:change
var Change embed.FS

// Data holds data/2001-01-01.parquet to data/2001-01-31.parquet.
//
//go:embed data/*.parquet
var Data embed.FS
