// Package registry decides which model versions exist, which pass their gates,
// and which one is champion of each environment.
//
// # State
//
// Every measured candidate becomes an immutable version with its whole lineage;
// versions of a model are numbered from 1 without a gap. A version is registered,
// then passed or refused by its gates, once and for all. A passed version goes
// through the environments in the order its freshet.yaml gives them; in each one it
// is
//
//	asked ──▶ approved ──▶ champion ──▶ former
//	  │           │
//	  └─▶ denied  └─▶ denied (rolled back)
//
// An environment that approves by rule skips "asked". A version that comes to an
// environment overtakes older versions that still wait there for a person, and
// never overtakes a newer one. A rollback makes an older version champion again and
// promotes nothing further.
//
// # Guarantees
//
//   - At most one champion per model and environment; it changes only when a
//     rollout completed.
//   - Only a version that passed every gate is ever approved, by rule or by a person.
//   - A gate that cannot be evaluated has not been passed. The evaluator's words
//     never enter a decision, so that another release of it decides the same.
//   - The mode in freshet.yaml bounds what happens without a person: observe
//     approves nothing, propose always asks, act does what the environment says.
//   - A version carries what a server needs into its approval, so that deployment
//     asks nobody.
//
// # When things fail
//
// State is a fold of the log and can be rebuilt from it at any time. An approval for
// a version that does not wait for one changes nothing. A withdrawn model keeps what
// it serves, loses what it waits for, and is approved for nothing until it is
// declared again.
package registry
