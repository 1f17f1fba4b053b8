// Package effects executes the effects and timers that applied events opened.
//
// # What it guarantees
//
// An open effect is executed until a fact that ends it is recorded; the first result that is
// recorded for it wins. One process at a time executes it, under a lease with a fencing
// token; what a stopped or killed process left is taken up at once. Of one kind so many run
// at once as its handler says, namespaces in turn, the oldest of each first. A timer's fact
// is recorded once, when the suite clock reaches it.
//
// # How it fails
//
// An attempt that fails is made again after a pause, until the handler's attempts are used
// up or its error is Permanent; then the handler says which fact ends the effect. A stopped
// attempt does not count. An execution whose lease is lost is canceled, and its result is
// dropped. A database that is unavailable is asked again while the lease lasts.
package effects
