// Package executor runs training jobs as child processes that may be anything: it
// trusts none of them.
//
// A job gets a directory of its own, an environment without the suite's variables,
// and limits of memory, processor time, file size and wall time. On Linux, where
// the kernel allows it, it also gets namespaces: no network, a process tree of its
// own that dies with its first process, none of the suite's privileges, and neither
// the suite's files nor its user's credentials in sight. Where it does not, the job
// runs without them and its log says so, or, where isolation is required, does not
// run and fails.
//
// A job that must end gets SIGTERM, a grace period, then SIGKILL with all that it
// started. Its output is kept up to a bound. The child is the suite's own binary,
// which sets the limits and then becomes the job, so a program that executes jobs
// calls Launch first thing in main.
package executor
