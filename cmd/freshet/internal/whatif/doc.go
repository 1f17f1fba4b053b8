// Package whatif replays recorded facts under changed rules and says which
// decisions would have differed.
//
// It is a client of a running suite. Every service that decides by the rules of a
// model leads a trial of its own fold (see libs/service): the log as it was decided
// up to the first position, with the rules in the declaration that holds there, and
// from there whatever events this package gives it. Nothing is executed, recorded or
// published.
//
// # What is kept and what is not
//
// The outcome of a recorded fact is that it happens, does not happen, or is unknown. It
// happens while all its dependencies happen as they did: its cause, its contributors and
// whatever else its payload names (see dependencies.go). Where one of them does not
// happen, neither does the fact. Where one of them differs (another version serves), the
// outcome is unknown.
//
// A decision is never taken from the log: the service makes it again by its own rules,
// and it is compared with the recorded one of the same cause. It is the same if it
// decides the same; where it only quotes other rules, it is counted and not different.
//
// Where a new decision asks for work that never ran (a training, a rollout's load), its
// result is unknown, and so is that branch from there. The state of the model's services
// is then not the state that they would have had. So from the first unknown event of a
// model on, a decision that equals the recorded one counts as the same, and a decision
// that differs is unknown too. Nothing is invented.
//
// The decisions of ingestion stand as they are, except that what quotes the model's
// rules (its declarations, the requests to train it, the measurements of its
// candidates) quotes the changed ones: gates, environments, monitoring, retraining
// and mode. What else the changed file says would need other runs, and
// is named and left out.
package whatif
