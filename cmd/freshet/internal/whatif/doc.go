// Package whatif replays recorded facts under changed rules and says which
// decisions would have differed.
//
// It is a client of a running suite. Every service that decides by the rules of a
// model leads a trial of its own fold (see libs/service): the log as it was decided
// up to the first position, and from there whatever events this package gives it.
// Nothing is executed, recorded or published.
//
// # What is kept and what is not
//
// A fact is kept while its cause still happens. One whose cause does not happen, or
// happens differently, is dropped, and with it all that followed. A decision is
// never taken from the log: it is made again by the service's own rules, and held
// against the recorded one of the same cause. Where a new decision asks for work
// that was never done (a training, a rollout's load), nobody knows how it would
// have ended: that branch is unknown from there. Nothing is invented.
//
// The decisions of ingestion stand as they are, except that what quotes the model's
// rules (its declarations, the requests to train it, the measurements of its
// candidates) quotes the changed ones: gates, environments, monitoring, retraining
// and mode. What else the changed file says would need other runs, and
// is named and left out.
package whatif
