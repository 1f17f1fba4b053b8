// Package statistics computes the numbers that gates, monitors and people
// compare: metrics of predictors, histograms whose edges come from reference
// data, column profiles, and the distances between two of them.
//
// Definitions are those of the reference libraries, stated at each function, so
// that a number here equals the number a data scientist gets there: metrics as
// scikit-learn 1.x, the population stability index as Evidently.
//
// Every function is deterministic: the same input in the same order gives the
// same bits. Nothing panics on odd input: a metric that is undefined (AUC of one
// class, any mean of nothing) is NaN, which callers must not put in an event.
// Values of type Column and Histogram are not safe for concurrent writes.
package statistics
