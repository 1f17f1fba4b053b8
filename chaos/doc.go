// Package chaos runs the whole suite as processes, each service its own binary
// beside nats-server, PostgreSQL and Kafka (the one that a suite embeds, or Apache's),
// gives it work through its real edges, and injects faults: processes are killed,
// stopped and resumed, servers have outages, disks fill, links slow down and break,
// clocks step, what was delivered comes again, the log's store is lost or becomes an
// older copy, and a database one from a dump.
//
// A round is a plan drawn from (seed, round): the same pair injects the same faults
// into the same processes at the same times. After each round everything is repaired
// and, once the suite has settled, compared with what it promises: every service's
// outbox is the log and the log is the archive, byte for byte and in order; no source
// has a gap; what clients were told was accepted is there, once; nothing is parked, no
// effect is open, and no process is left behind.
//
// Findings have four kinds. Lost: recorded or acknowledged, and missing further on.
// Doubled: recorded more than once. Reordered: there, in another order. Diverged: two
// copies that must be equal and are not, and whatever else is not as it must be, such
// as a suite that does not settle.
//
// It is a tool for a machine of one's own: as root it works in namespaces of its own,
// so that nothing of it is left behind however it ends; otherwise it works without
// them and without full disks, and says so.
//
// It knows the suite's services, datasets and models, and for that reason it is not
// part of libs: it stands beside the services, and imports none of them.
package chaos
