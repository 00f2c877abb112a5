package chaos

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

func clusterFaults() []fault {
	return []fault{
		{name: "scale-4-3", hold: seconds(5, 20), solo: true, cost: "nothing", strike: scale},
		{name: "paused-primary-dies", hold: seconds(6, 14), solo: true, cost: "writes stop until the pause ends or the primary is back", strike: paused},
		{name: "same-name", targets: []string{"primary", "standby"}, hold: seconds(6, 14), cost: "nothing: the second one is refused", strike: sameName},
	}
}

// scale adds a fourth node and takes it out again.
func scale(s *strike) (func() error, error) {
	n := s.c.cluster.spare
	n.mu.Lock()
	n.over = false
	n.mu.Unlock()
	if err := n.start(); err != nil {
		return nil, err
	}
	joined := s.c.await(2*time.Minute, func() bool {
		d, err := s.c.cluster.status()
		state := d.Node(n.name).State
		return err == nil && (state == "replica" || state == "standby")
	})
	if !joined {
		s.note("%s did not become a replica within two minutes", n.name)
		s.c.count("fourth nodes that did not join in time")
	}
	return each(func() error { return n.end(true) }, n.wipe), nil
}

// paused kills the primary while automatic failover is paused: nobody else may be promoted.
func paused(s *strike) (func() error, error) {
	key := keyPrefix + "pause"
	if _, err := s.consul().put(key, []byte(`{"by":"chaos","at":"2026-01-01T00:00:00Z","reason":"a test"}`), 0); err != nil {
		return nil, err
	}
	resume := func() error { return s.c.try(30*time.Second, func() error { return s.consul().remove(key) }) }
	time.Sleep(3 * time.Second) // a promotion that has begun may end
	primary, _ := s.c.roles()
	if primary == nil {
		return resume, errNotNow
	}
	before := s.c.watch.now()
	s.note("%s, the primary of term %d, is killed while paused", primary.name, before.Term)
	primary.hold()
	if err := primary.kill(); err != nil {
		return each(primary.free, resume), err
	}
	return func() error {
		after := s.c.watch.now()
		if after.Term != before.Term && nameOf(after.Primary) != primary.name {
			s.c.violation("%s was promoted in term %d although automatic failover was paused", nameOf(after.Primary), after.Term)
		}
		return errors.Join(resume(), primary.free())
	}, nil
}

// sameName starts an empty node under the name of one that lives.
func sameName(s *strike) (func() error, error) {
	c := s.c.cluster
	twin, err := c.newNode(s.target.name, c.spare.host)
	if err != nil {
		return nil, err
	}
	twin.service.name = "twin-of-" + s.target.name
	twin.log = filepath.Join(c.dir, "logs", twin.service.name+".log")
	if c.spare.main() != 0 {
		return nil, fmt.Errorf("the fourth host is in use: %w", errNotNow)
	}
	if err := twin.start(); err != nil {
		return nil, err
	}
	return each(func() error { return twin.end(false) }, twin.wipe), nil
}
