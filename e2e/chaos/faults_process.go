package chaos

import (
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func processFaults() []fault {
	return []fault{
		{name: "kill-mysqld", targets: mostlyPrimary, hold: seconds(1, 3), cost: "writes stop until another one leads", strike: killPart("mysqld")},
		{name: "kill-agent", targets: mostlyPrimary, hold: seconds(1, 3), cost: "writes may stop for a lease", strike: killPart("agent")},
		{name: "kill-guard", targets: mostlyPrimary, hold: seconds(1, 3), cost: "the node dies; writes may stop for a lease", strike: killPart("guard")},
		{name: "kill-node", targets: mostlyPrimary, hold: seconds(2, 12), cost: "writes may stop for a lease", strike: killNode},
		{name: "freeze-mysqld", targets: mostlyPrimary, hold: seconds(4, 14), cost: "writes may stop for a lease", strike: freezePart("mysqld")},
		{name: "freeze-agent", targets: mostlyPrimary, hold: seconds(4, 14), cost: "writes may stop for a lease", strike: freezePart("agent")},
		{name: "freeze-guard", targets: mostlyPrimary, hold: seconds(4, 14), cost: "nothing, or a lease", strike: freezePart("guard")},
		{name: "freeze-node", targets: mostlyPrimary, hold: seconds(4, 16), cost: "writes may stop for a lease", strike: freezeNode},
		{name: "freeze-blink", targets: mostlyPrimary, hold: seconds(2, 3.5), cost: "writes may stop: about as long as the lease", strike: freezeNode},
		{name: "stop-node", targets: mostlyPrimary, hold: seconds(2, 8), cost: "writes stop until the hand-over is done", strike: stopNode},
		{name: "candidate-killed", targets: onlyPrimary, hold: seconds(2, 8), cost: "writes stop for a lease or two", strike: candidateKilled},
		{name: "power-cut", hold: seconds(1, 5), cost: "everything stops until the nodes are back", strike: powerCut},
		{name: "sole-acker-restarted", hold: seconds(4, 10), solo: true, cost: "writes may stop until the primary is back", strike: soleAcker},
		{name: "acker-hangs-other-behind", hold: seconds(4, 10), needs: namespaces, solo: true,
			cost: "writes stop until one of the standbys is back", strike: ackerHangs},
	}
}

func killPart(part string) func(*strike) (func() error, error) {
	return func(s *strike) (func() error, error) {
		pid, err := s.target.part(part)
		if err != nil {
			return nil, err
		}
		return nil, signal(unix.SIGKILL, pid)
	}
}

func killNode(s *strike) (func() error, error) {
	s.target.hold()
	return s.target.free, s.target.kill()
}

func freezePart(part string) func(*strike) (func() error, error) {
	return func(s *strike) (func() error, error) {
		pid, err := s.target.part(part)
		if err != nil {
			return nil, err
		}
		return s.target.thaw(pid), signal(unix.SIGSTOP, pid)
	}
}

// freezeNode stops the whole node where it stands: the guard first, which would act on what it sees of the others. It
// goes on in the order that is worst for it: its server first, its guard last.
func freezeNode(s *strike) (func() error, error) {
	list := s.target.all()
	var first, later []int
	for _, p := range list {
		if strings.Contains(p.args, "--defaults-file=") {
			first = append(first, p.pid)
		} else {
			later = append([]int{p.pid}, later...)
		}
	}
	return s.target.thaw(append(first, later...)...), signal(unix.SIGSTOP, pids(list)...)
}

// thaw lets processes go on that are still the service's.
func (s *service) thaw(list ...int) func() error {
	return func() error {
		ours := map[int]bool{}
		for _, p := range s.all() {
			ours[p.pid] = true
		}
		for _, pid := range list {
			if ours[pid] {
				if err := signal(unix.SIGCONT, pid); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

func stopNode(s *strike) (func() error, error) {
	s.target.hold()
	done := make(chan error, 1)
	go func() {
		graceful, err := s.target.stop()
		if !graceful {
			s.note("%s did not stop within %v and was killed", s.target.name, stopLimit)
			s.c.count("graceful stops that took too long")
		}
		done <- err
	}()
	return each(func() error { return <-done }, s.target.free), nil
}

// candidateKilled kills the primary, and then whoever takes a certain step towards being the next one, at that step.
func candidateKilled(s *strike) (func() error, error) {
	moment := []string{"op=seal", "op=publish-seal", "op=acquire", "op=drain", "op=promote", "on=won"}[s.rng.IntN(6)]
	what := []string{"mysqld", "agent", "guard", "node"}[s.rng.IntN(4)]
	ends := map[*node]int64{}
	for _, n := range s.c.cluster.nodes {
		if info, err := os.Stat(n.log); err == nil && n != s.target {
			ends[n] = info.Size()
		}
	}
	s.target.hold()
	heal := s.target.free
	if err := s.target.kill(); err != nil {
		return heal, err
	}
	var candidate *node
	s.c.awaitEach(20*time.Second, 3*time.Millisecond, func() bool {
		for n, from := range ends {
			if wrote(n.log, from, moment) {
				candidate = n
				return true
			}
		}
		return false
	})
	if candidate == nil {
		s.note("nobody came to %s", moment)
		return heal, nil
	}
	s.note("%s has come to %s: its %s is killed", candidate.name, moment, what)
	if what == "node" {
		candidate.hold()
		return each(heal, candidate.free), candidate.kill()
	}
	pid, err := candidate.part(what)
	if err != nil {
		return heal, err
	}
	return heal, signal(unix.SIGKILL, pid)
}

// wrote says whether a log has a text behind an offset.
func wrote(log string, from int64, text string) bool {
	f, err := os.Open(log)
	if err != nil {
		return false
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, from, 1<<20))
	return err == nil && strings.Contains(string(b), text)
}

// powerCut ends all nodes in one instant; they come back in any order.
func powerCut(s *strike) (func() error, error) {
	nodes := s.c.cluster.nodes
	errs := make(chan error, len(nodes))
	for _, n := range nodes {
		n.hold()
		go func() { errs <- n.kill() }()
	}
	var err error
	for range nodes {
		if e := <-errs; e != nil {
			err = e
		}
	}
	order := s.rng.Perm(len(nodes))
	return func() error {
		var undo []func() error
		for _, i := range order {
			undo = append(undo, func() error {
				s.note("%s comes back", nodes[i].name)
				return nodes[i].free()
			}, func() error {
				time.Sleep(time.Duration(s.rng.IntN(3000)) * time.Millisecond)
				return nil
			})
		}
		return each(undo...)()
	}, err
}

// soleAcker leaves one standby, restarts it, and then takes the primary away.
func soleAcker(s *strike) (func() error, error) {
	primary, standbys := s.c.roles()
	if primary == nil || len(standbys) < 2 {
		return nil, errNotNow
	}
	gone, sole := standbys[0], standbys[1]
	gone.hold()
	if err := gone.kill(); err != nil {
		return gone.free, err
	}
	s.c.await(40*time.Second, func() bool { return len(s.c.watch.now().Members) == 2 })
	sole.hold()
	if s.rng.IntN(2) == 0 {
		s.note("%s, the only standby, is stopped gracefully", sole.name)
		if _, err := sole.stop(); err != nil {
			return each(gone.free, sole.free), err
		}
	} else {
		s.note("%s, the only standby, is killed", sole.name)
		if err := sole.kill(); err != nil {
			return each(gone.free, sole.free), err
		}
	}
	if err := sole.free(); err != nil {
		return gone.free, err
	}
	// The primary dies while the standby starts, has just come back, or counts again.
	time.Sleep(time.Duration(s.rng.IntN(8000)) * time.Millisecond)
	s.note("%s, the primary, is killed", primary.name)
	primary.hold()
	return each(gone.free, primary.free), primary.kill()
}

// ackerHangs freezes one standby while the other one is cut off from the primary, and then kills the primary.
func ackerHangs(s *strike) (func() error, error) {
	primary, standbys := s.c.roles()
	if primary == nil || len(standbys) < 2 {
		return nil, errNotNow
	}
	behind, hanging := standbys[0], standbys[1]
	if err := s.cut(behind, rules("both", primary.host.Addr)...); err != nil {
		return nil, err
	}
	time.Sleep(time.Duration(s.rng.IntN(3000)) * time.Millisecond)
	heal, err := freezeNode(&strike{c: s.c, target: hanging})
	if err != nil {
		return each(s.uncut(behind), heal), err
	}
	time.Sleep(time.Duration(s.rng.IntN(8000)) * time.Millisecond)
	s.note("%s, the primary, is killed; %s hangs, %s is behind", primary.name, hanging.name, behind.name)
	primary.hold()
	undo := []func() error{s.uncut(behind), heal, primary.free}
	s.rng.Shuffle(len(undo), func(i, j int) { undo[i], undo[j] = undo[j], undo[i] })
	return each(undo...), primary.kill()
}
