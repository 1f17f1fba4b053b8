package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// inject does what a fault says and undoes it when its time is over. It returns
// an error where the harness itself could not; what the suite makes of it is for
// the checks to say.
func (s *Suite) inject(ctx context.Context, f fault, l *load) error {
	switch f.kind {
	case kill:
		return s.kill(f.target)
	case crash:
		return s.crash()
	case pauses:
		p := s.procs[f.target]
		p.Signal(syscall.SIGSTOP)
		sleep(ctx, f.lasts)
		p.Signal(syscall.SIGCONT)
		return nil
	case outages:
		// Half of the servers that stop are killed.
		how := syscall.SIGTERM
		if f.number%2 == 0 {
			how = syscall.SIGKILL
		}
		p := s.procs[f.target]
		if _, err := p.Down(how, time.Minute); err != nil {
			return err
		}
		sleep(ctx, f.lasts)
		p.Up()
		return nil
	case slow, cut, blackhole, answers:
		return s.strain(ctx, f)
	case takeover, zombie:
		return s.takeOver(ctx, f)
	case full:
		return s.fillDisk(ctx, f)
	case again:
		return s.deliverAgain(ctx, f, l)
	case stop:
		p := s.procs[f.target]
		_, err := p.Down(syscall.SIGTERM, stopWithin)
		p.Up()
		return err
	case clocks:
		return s.step(ctx, f)
	case rollback:
		return s.rollBack(ctx, f)
	case lost:
		return s.loseStore()
	case older:
		return s.restoreDatabase(ctx, f)
	case rebuild:
		// It may be refused, or be killed: what is left then is what was there.
		_, _ = s.replay(ctx, f.target, "rebuild", origins[f.number%2])
		return nil
	}
	return fmt.Errorf("there is no fault %q", f.kind)
}

// kill is kill -9. Of PostgreSQL it is the program that keeps it, or the
// postmaster itself, which that starts again.
func (s *Suite) kill(target string) error {
	if target != "postmaster" {
		s.procs[target].Kill()
		return nil
	}
	pid, err := s.postmaster()
	if err != nil {
		return nil //nolint:nilerr // it does not run just now
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

// crash kills every process, as when the machine's power fails and its disks keep
// what was synced.
func (s *Suite) crash() error {
	if err := s.kill("postmaster"); err != nil {
		return err
	}
	for _, p := range s.all() {
		p.Kill()
	}
	return nil
}

func (s *Suite) strain(ctx context.Context, f fault) error {
	l := s.links[f.target]
	var err error
	switch f.kind {
	case slow:
		err = l.slow(20+f.number%150, 20)
	case cut:
		l.cut()
	case blackhole:
		err = l.blackHole()
	case answers:
		err = l.drop()
	default:
		return fmt.Errorf("%s is no fault of a link", f.kind)
	}
	if err != nil {
		return fmt.Errorf("the link to %s: %w", f.target, err)
	}
	sleep(ctx, f.lasts)
	return l.repair()
}

// takeOver stops the leading process of a service, ends its sessions as the
// database's administrator would or sees the second process do it, and lets that
// lead; then the first continues, as a zombie, until one of them is killed. For a
// zombie executor its leases are over before the second one looks.
func (s *Suite) takeOver(ctx context.Context, f fault) error {
	stopped, err := s.instances(ctx, f.target)
	if err != nil {
		return err
	}
	name := f.target + "/second"
	p := newProcess(name, s.logs(), s.o.Binaries+"/"+f.target, func() []string { return s.environment(f.target, name) })
	p.log = strings.ReplaceAll(p.log, name, f.target+"-second")
	s.mu.Lock()
	s.second[f.target] = p
	s.mu.Unlock()
	p.Up()
	if err := s.awaitInstance(ctx, name); err != nil {
		return err
	}
	first := s.procs[f.target]
	first.Signal(syscall.SIGSTOP)
	if f.kind == zombie {
		if _, err := s.db.Exec(ctx, "UPDATE "+schemaOf(f.target)+"_io.leases SET until = '-infinity'"); err != nil {
			return err
		}
	}
	if f.alone() {
		err = s.awaitEnded(ctx, f.target, stopped)
	} else {
		_, err = s.db.Exec(ctx, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = ANY($1)", stopped)
	}
	if err != nil {
		return err
	}
	sleep(ctx, f.lasts)
	first.Signal(syscall.SIGCONT)
	sleep(ctx, f.lasts/2)
	switch f.number % 3 {
	case 0:
		first.Kill()
	case 1:
		p.Kill()
	}
	_, err = p.Down(syscall.SIGTERM, stopWithin)
	s.mu.Lock()
	delete(s.second, f.target)
	s.mu.Unlock()
	for _, e := range p.Exits() {
		first.note(e)
	}
	return err
}

// awaitInstance waits until a process answers that it runs.
func (s *Suite) awaitInstance(ctx context.Context, instance string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		st, err := s.status(ctx, instance)
		if err == nil && st.Error == "" {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s does not come up: %v %s", instance, err, st.Error) //nolint:errorlint // either may be nothing
		}
		sleep(ctx, 20*time.Millisecond)
	}
}

// instances are the names under which a service's processes have sessions.
func (s *Suite) instances(ctx context.Context, service string) (names []string, err error) {
	err = s.db.QueryRow(ctx, "SELECT coalesce(array_agg(DISTINCT application_name), '{}') FROM pg_stat_activity WHERE application_name LIKE $1",
		"freshet-"+service+"/%").Scan(&names)
	return names, err
}

// awaitEnded waits until processes that are stopped have no sessions left.
func (s *Suite) awaitEnded(ctx context.Context, service string, names []string) error {
	const within = 30 * time.Second
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		left := -1
		err := s.db.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE application_name = ANY($1)", names).Scan(&left)
		if err == nil && left == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return &slowStop{fmt.Sprintf("the first process of %s is frozen, and the second has not ended its sessions within %s", service, within)}
		}
		sleep(ctx, 20*time.Millisecond)
	}
}

// fillDisk leaves a server, or the objects, without room for a while.
func (s *Suite) fillDisk(ctx context.Context, f fault) error {
	d := s.disks[f.target]
	if err := d.Fill(); err != nil {
		return fmt.Errorf("filling the disk of %s: %w", f.target, err)
	}
	sleep(ctx, f.lasts)
	if err := d.Free(); err != nil {
		return fmt.Errorf("freeing the disk of %s: %w", f.target, err)
	}
	return nil
}

// step moves a service's clock by up to an hour, forward or back, and then back.
func (s *Suite) step(ctx context.Context, f fault) error {
	by := time.Duration(f.number%7200-3600) * time.Second
	if err := os.WriteFile(s.clockFile(f.target), []byte(by.String()), 0o644); err != nil {
		return err
	}
	sleep(ctx, f.lasts)
	return os.Remove(s.clockFile(f.target))
}

// deliverAgain lets a service read its input once more from an older place, and
// producers announce once more what was acknowledged.
func (s *Suite) deliverAgain(ctx context.Context, f fault, l *load) error {
	p := s.procs[f.target]
	if _, err := p.Down(syscall.SIGKILL, time.Minute); err != nil {
		return err
	}
	sql := "UPDATE ingestion_data.input_positions SET position = greatest(-1, position - $1)"
	if f.target == "monitoring" {
		sql = "UPDATE monitoring_data.consumed SET next = greatest(0, next - $1)"
	}
	err := retry(ctx, func() error { // the round may have taken the database away as well
		_, err := s.db.Exec(ctx, sql, 1+f.number%200)
		return err
	})
	if err != nil {
		return err
	}
	p.Up()
	l.again(ctx, randomness(uint64(f.number), 0), 30) //nolint:gosec // not negative
	return nil
}

// repair ends every fault: all processes run, and disks have room again.
func (s *Suite) repair(ctx context.Context) error {
	for _, d := range s.disks {
		if err := d.Free(); err != nil {
			return err
		}
	}
	for _, name := range Servers {
		s.procs[name].Signal(syscall.SIGCONT)
		s.procs[name].Up()
	}
	for _, name := range s.o.Services {
		s.procs[name].Signal(syscall.SIGCONT)
		s.procs[name].Up()
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return s.Ready(ctx)
}

// group runs functions at once and returns their errors.
func group[T any](items []T, fn func(T) error) []error {
	errs := make([]error, len(items))
	var all sync.WaitGroup
	for i, item := range items {
		all.Go(func() { errs[i] = fn(item) })
	}
	all.Wait()
	return errs
}

// postmaster is PostgreSQL's first process.
func (s *Suite) postmaster() (int, error) {
	matches, err := filepath.Glob(filepath.Join(s.dir("postgres"), "postgres", "data", "postmaster.pid"))
	if err != nil || len(matches) == 0 {
		return 0, errors.New("PostgreSQL does not run")
	}
	b, err := os.ReadFile(matches[0])
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("postmaster.pid begins with %q", first)
	}
	if !strings.Contains(commandLine(pid), "postgres") {
		return 0, fmt.Errorf("the process %d is no postmaster", pid)
	}
	return pid, nil
}
