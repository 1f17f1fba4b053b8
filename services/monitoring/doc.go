// Package monitoring decides whether what is live is healthy.
//
// It keeps inference records from Kafka in tables of its own and closes windows
// over them:
//
//   - a canary window, when a rollout's step has answered enough requests with the
//     new version and has lasted long enough: canary_judged follows;
//   - a traffic window, at every boundary of a model's monitor.window on the suite
//     clock: drift_detected, alert_raised and alert_resolved follow;
//   - a quality window, when a data commit brings labels for what was predicted:
//     quality_degraded, drift_detected and alerts follow.
//
// A window carries its numbers; deciding only compares them, so that the same
// window gives the same decisions whenever it is read again. Features and
// predictions are compared with the champion's reference profile; a candidate's
// predictions, during a canary, with the champion's on the same traffic.
//
// Guarantees: a record counts once, however often it is delivered; a window is
// closed once, under a natural key, also by several replicas; boundaries that
// passed while the service was down are one window with their count; one window
// makes at most one drift_detected, the worst column's; a canary passes only when
// every rule could be evaluated and none is true; a late window of a rollout that
// ended decides nothing; an empty window says nothing.
//
// Failures: a record that breaks its contract is quarantined with the reason. A
// reference profile that cannot be read, or a label that cannot be evaluated, is
// said in the window's error. While Kafka is unavailable windows wait for it, because a
// window closed without its records would be wrong.
package monitoring
