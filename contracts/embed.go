// Package contracts holds what Freshet's services promise each other: one JSON
// Schema per event type and major version, the types they share, and
// channels.yaml, which says who owns each event and who reads it. It is data
// only; Go code is generated from it into the events module.
package contracts

import "embed"

// FS holds channels.yaml and every schema, at the path its $id names.
//
//go:embed channels.yaml */v1/*.json
var FS embed.FS

// Documents holds what describes all of them to tools: events in asyncapi.yaml and
// channels.yaml, routes in openapi.json.
//
//go:embed asyncapi.yaml channels.yaml openapi.json
var Documents embed.FS

// BaseURL precedes a contract's path in $id and in an event's dataschema.
const BaseURL = "https://freshet.io/contracts/"
