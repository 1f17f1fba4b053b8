// Package console is people's hands and eyes: a page that shows ripples live as a
// picture of cause and effect, and the routes through which a person approves, denies,
// asks for a training, a promotion or a rollback. It decides nothing: what a person
// wants becomes a fact, and the services that own the matter decide.
//
// # State
//
// A fold of the log: a row per ripple with its trigger and how it stands, a row per
// event with its cause, what is waiting for a person, and which models, versions and
// champions there are. A ripple is open while something that it began has not ended:
// an arrival being checked, a training, an approval, a rollout. An end that another
// ripple brought (a newer version overtook the one that waited) is written to the
// ripple that waited.
//
// # Guarantees
//
//   - A POST answers after its fact is durable and applied here. With the same
//     Idempotency-Key it has one effect and one answer; an approval has one verdict,
//     whoever asks how often.
//   - An approval belongs to the ripple that waited for it, so that the causes of what
//     serves lead through the person who agreed.
//   - Notes are objects; events carry only their digest.
//   - No other site can make a person's browser act: see the package edge.
//
// # When things fail
//
// The page shows what the fold has applied and continues from where it was when its
// stream of events breaks. A fact that was recorded but not applied in time is
// answered with 202 and the address of its event.
package console
