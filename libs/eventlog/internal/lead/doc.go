// Package lead is a process's standing among others: towards the other processes of its
// service the session lease, towards the log's server the log session.
//
// # What it guarantees
//
// Of a service's processes one leads, as long as its database session lasts. A process
// that PostgreSQL has not heard of for SilentFor is fenced: another one of its service
// ends its sessions, and whatever they lock is free. A process whose session has ended
// hears of it within seconds (ErrFenced).
//
// A log session is bound to one process of the log's server and to one stream. It is
// opened only after audit has attested the log there, where audit does; what the service
// applied beyond the archive is reported for that, and forgotten once the archive has it.
// The heartbeat of a leading process tells audit how far it is, and detects that the
// database was rolled back.
//
// # How it fails
//
// Without a log session nothing is published or applied: Current returns why. A session
// whose server process ended is ErrUnavailable for good; Register opens the next one. A
// process that was wrongly taken for frozen loses time, nothing else: the position and the
// append to the log are fenced against two that lead.
package lead
