// Package featurestore decides which versions of feature views exist, keeps their
// rows fresh, serves them online and joins them into training sets.
//
// # State
//
// A view becomes a new version when a code commit changes what it computes; owner
// and description do not count. Every version is computed for every data commit of
// its dataset (feature_view_materialized): entity, key, time, when each value
// becomes known, and the value of each feature's expression, row by row. What
// aggregates those rows is computed when it is asked for, as of one instant, by the
// same Go code in training and online.
//
// # Guarantees
//
//   - A row is seen at instant t if it was known before t and happened in
//     (t - window, t]. When it is known follows from the dataset's known_at: of the
//     last known of the columns that the expression mentions, else at its time. A
//     value that never becomes known is never seen.
//   - The same rows, instant and entity give the same bits in training and online.
//   - A training set contains only examples whose label was known before as_of, from
//     the data commits that the request names. Equal inputs give an equal id and
//     equal files.
//   - A row that was pushed and later committed counts once; what was committed
//     replaces what was pushed, a later commit an earlier one.
//   - A push is answered once its rows are durable and seen.
//   - SQL that users wrote runs in a sealed session: it sees its own rows, no file,
//     no network and no setting, within limits of memory and time.
//
// # When things fail
//
// A view whose SQL cannot be read is declared with an error and never computed; one
// that fails on a commit's data says so in feature_view_materialized. A training set
// that cannot be built ends as training_set_failed with its reason, its detail in an
// object. The online store is memory: a restart fills it from materialised objects
// and from the topic of pushed rows, as far back as any window reaches, and answers
// 503 until then. A record of pushed rows that cannot be understood is skipped
// and logged.
package featurestore
