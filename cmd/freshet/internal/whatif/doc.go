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
// A recorded fact happens, does not happen, or nobody knows. It happens while all that
// it rests on does, as it did: its cause, its contributors and whatever else its payload
// names (see rests.go). Where something of that does not happen, neither does the fact.
// Where something else happens in its stead (another version serves), nobody knows what
// the fact would have been.
//
// A decision is never taken from the log: it is made again by the service's own rules,
// and held against the recorded one of the same cause. It is the same if it decides the
// same; that it quotes other rules for it is counted and no difference.
//
// Where a new decision asks for work that was never done (a training, a rollout's load),
// nobody knows how it would have ended: that branch is unknown from there. What a model's
// services know of it is then not what they would have known. So from the first thing
// about a model that nobody knows, what comes out as it was recorded stands, and what
// comes out differently is unknown too. Nothing is invented.
//
// The decisions of ingestion stand as they are, except that what quotes the model's
// rules (its declarations, the requests to train it, the measurements of its
// candidates) quotes the changed ones: gates, environments, monitoring, retraining
// and mode. What else the changed file says would need other runs, and
// is named and left out.
package whatif
