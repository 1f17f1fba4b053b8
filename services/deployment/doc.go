// Package deployment decides what each environment of a model serves and with
// how much of its traffic, and serves it.
//
// A rollout moves an environment from the version that serves to an approved one:
//
//	           replica_failed, rollback_asked, superseded
//	┌─────────┐ ────────────────────────────────────────▶ ┌─────────────┐
//	│ loading │                                            │ rolled_back │
//	└────┬────┘          verdict fail, too few requests,   └─────────────┘
//	     │ replica_ready rollback_asked, superseded               ▲
//	     ├──────────────▶ stepping (10 %, 50 %, …) ───────────────┘
//	     │ no steps, or      │ verdict pass on the last step
//	     ▼ nothing before    ▼
//	  completed ◀────────────┘
//
// What serves is state folded from the log; the models in memory follow it. A
// request reads one immutable snapshot, without a lock, so it is answered by the
// versions and weights of one instant. A row stays with its version for the whole
// rollout, because the split hashes the prediction's key.
//
// Guarantees: traffic reaches a version only after it was loaded and answered a
// warming row; a rollback gives traffic back to what served before; a rollout
// whose version cannot be loaded never takes traffic; every answered and every
// failed request is recorded once on the inference topic, as long as the process
// stops in order. A killed process may lose the records of its last moments, and
// a broker's lost answer may duplicate some: their ids tell.
//
// Failures: an unreachable feature store fails requests with 503, it never
// invents values; an unreachable Kafka fills a bounded queue and then makes
// requests wait, and fails them with 503 when the wait is too long; a broken
// model object keeps the rollout from starting and leaves what serves alone.
package deployment
