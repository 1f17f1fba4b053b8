// Package attest is what services and the log guardian (audit) say to each other
// about the log: which stream it is, and that it may continue.
//
// The log is one JetStream stream at a time, FRESHET_<epoch>. A server that comes
// back may have an older copy of it, or none. So an attestation holds for one
// server process and one stream: after every new connection a service reports what
// it applied, and neither publishes nor applies before the guardian has attested that
// the log continues the archive and what every service had applied. Where it does
// not, the guardian opens the next epoch, for which it asks services for what they
// alone still know.
//
// A service always asks and the guardian always answers, on one subject: Report,
// Answer. Both are JSON. A report that gets no answer is sent again; every report
// says the whole truth, so that none can be lost or come too late.
package attest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// Subject is where reports go.
	Subject = "freshet-epoch.report"
	// Prefix is what the name of the log's stream begins with; its epoch follows.
	Prefix = "FRESHET_"
	// Retired is where the subjects of an earlier epoch's stream begin: nobody
	// publishes there, so that nothing is added to it.
	Retired = "freshet-retired"
)

// A Report is what a service says of itself. Its position is what its database has,
// and nobody moves it until the answer attests.
type Report struct {
	Service  string `json:"service"`
	Server   string `json:"server"`   // the server process that it was sent through
	Epoch    int    `json:"epoch"`    // of the position; 0 where nothing was applied
	Sequence uint64 `json:"sequence"` // applied up to here
	Digest   []byte `json:"digest"`   // of the event there

	Follows bool `json:"follows,omitempty"` // another process of the service leads it, and reports
	Runs    bool `json:"runs,omitempty"`    // it runs under an attestation; the position moves
	Leaves  bool `json:"leaves,omitempty"`  // it has stopped

	Tail     []Applied `json:"tail,omitempty"`      // as the answer before wanted
	TailDone bool      `json:"tail_done,omitempty"` // there is nothing after it
	Events   []Event   `json:"events,omitempty"`    // as the answer before wanted
	Lacks    []uint64  `json:"lacks,omitempty"`     // wanted events that the outbox does not have
}

// Applied says which event was applied at a sequence of the log.
type Applied struct {
	Sequence       uint64 `json:"sequence"`
	Source         string `json:"source"`
	SourceSequence uint64 `json:"source_sequence"`
	Digest         []byte `json:"digest"`
}

// An Event of the service's own, as its outbox has it.
type Event struct {
	Sequence uint64 `json:"sequence"` // of the source
	Data     []byte `json:"data"`
}

// An Answer says whether the log may continue, or what is wanted first.
type Answer struct {
	Server   string    `json:"server"`
	Attested bool      `json:"attested"`
	Stream   string    `json:"stream,omitempty"`
	Created  time.Time `json:"created,omitzero"` // when the stream was made: another one of its name is another log
	// Archived is up to where the archive holds the log; what was applied beyond it has
	// to be remembered. Kept says that there is an archive.
	Archived uint64 `json:"archived"`
	Kept     bool   `json:"kept"`

	Wait  string `json:"wait,omitempty"`  // why it is not attested yet
	Alarm bool   `json:"alarm,omitempty"` // and that waiting alone will not help

	WantTail  bool     `json:"want_tail,omitempty"`
	TailAfter uint64   `json:"tail_after,omitempty"` // what was applied after this sequence
	Want      []uint64 `json:"want,omitempty"`       // events of the service's own, by source sequence
}

// Number is the epoch that a stream's name says, 0 where it is no log's.
func Number(stream string) int {
	rest, ok := strings.CutPrefix(stream, Prefix)
	n, err := strconv.Atoi(rest)
	if !ok || err != nil || n < 1 || strconv.Itoa(n) != rest {
		return 0
	}
	return n
}

// Stream is the name of an epoch's stream.
func Stream(number int) string { return Prefix + strconv.Itoa(number) }

// Server names the server process behind a connection. A replicated log is its
// cluster's: a server of it that comes back with less is brought up to date by the
// others, so only the cluster as a whole can be restored.
func Server(nc *nats.Conn) string {
	if name := nc.ConnectedClusterName(); name != "" {
		return "cluster/" + name
	}
	return nc.ConnectedServerId()
}

// ErrNone: the server has no stream of the log.
var ErrNone = errors.New("the server has no log")

// Current finds the newest epoch's stream. It is not an attestation.
func Current(ctx context.Context, js jetstream.JetStream) (string, error) {
	names := js.StreamNames(ctx)
	highest := 0
	for name := range names.Name() {
		highest = max(highest, Number(name))
	}
	if err := names.Err(); err != nil {
		return "", fmt.Errorf("the streams of the log's server: %w", err)
	}
	if highest == 0 {
		return "", ErrNone
	}
	return Stream(highest), nil
}

// Dial opens another connection with a connection's options. It never reconnects:
// it is bound to one server process, and what is sent through it after that process
// has ended is sent to nobody.
func Dial(nc *nats.Conn, lost func()) (*nats.Conn, error) {
	o := nc.Opts
	o.AllowReconnect, o.RetryOnFailedConnect, o.NoRandomize = false, false, false
	o.DisconnectedErrCB, o.ReconnectedCB, o.ConnectedCB = nil, nil, nil
	o.ClosedCB = func(*nats.Conn) { lost() }
	c, err := o.Connect()
	if err != nil {
		return nil, fmt.Errorf("connecting to the log's server: %w", err)
	}
	return c, nil
}

// ReadFrom is how a stream is read from a sequence on. A consumer that ended may be made
// again once behind its reader's back, and then the reader hears of it: by default that is
// tried for ever and no context ends it, so that a server that says goodbye before its
// connection ends would stop the reader, and whoever waits for it, for good.
func ReadFrom(sequence uint64) jetstream.OrderedConsumerConfig {
	return jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: sequence, MaxResetAttempts: 1,
	}
}
