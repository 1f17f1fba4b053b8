// Package contracts holds what Freshet's services promise each other: one JSON
// Schema per event type and major version, the types they share, and
// channels.yaml, which says who owns each event and who reads it. It is data
// only; Go code is generated from it into the events module.
package contracts

import "embed"

// FS holds every contract file, at the path its $id names.
//
//go:embed channels.yaml */v1/*.json
var FS embed.FS

// BaseURL precedes a contract's path in $id and in an event's dataschema.
const BaseURL = "https://freshet.io/contracts/"
