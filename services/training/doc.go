// Package training decides when a model is trained, trains it, and measures its
// result.
//
// # What it decides
//
// Every reason to train a model (a data commit of its examples, a code commit that
// changes what a training would give, drift, degraded quality, a tick of its
// schedule, a person) gets exactly one answer: training_requested, or
// training_skipped with the rule that refused it. The rules are the model's own
// (when, data_commits, cooldown, per_day, give_up_after, mode) and two that hold
// for all: one training of a model at a time, and a bound on trainings between two
// pieces of news, so that no loop of events trains for ever. A code change that
// cannot be trained on at once, because a training runs or because there is no
// data yet, is remembered: the newest one, once.
//
// # What it does
//
// The job runs as a child process in its own directory, with limits, without the
// suite's environment and, where the kernel allows, without network and privileges
// (internal/executor); a trainer of the suite's own runs the same way
// (internal/logistic). It sees the train and validation splits, never test. What it
// leaves is scored here, beside the champion of the model's last environment and
// the naive predictor, on the same test rows, none of which any of them was trained
// on (internal/measure): a metric in a gate is measured, never claimed.
//
// # When things fail
//
// A job that exits with 75 is tried again; one that exits otherwise, exceeds a
// limit, or leaves no model that can be scored is a run_failed with its reason and
// its log. A suite that is killed in mid-run runs the job again when it is available again;
// its checkpoint directory is kept. A cancelled run's job gets SIGTERM, then
// SIGKILL. The first result recorded for a run stands.
//
// The state is a fold of the log: deleting its tables and reading the log again
// gives the same state, with the same work still open.
package training
