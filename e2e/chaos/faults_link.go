package chaos

import (
	"fmt"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/netns"
)

func linkFaults() []fault {
	var all []fault
	add := func(name, from, direction, cost string) {
		all = append(all, fault{name: name, targets: mostlyPrimary, hold: seconds(3, 14), needs: namespaces, cost: cost, strike: cutFrom(from, direction)})
	}
	add("cut-all", "everybody", "both", "writes may stop for a lease")
	add("cut-out", "everybody", "out", "writes may stop for a lease")
	add("cut-in", "everybody", "in", "writes may stop for a lease")
	add("cut-consul", "consul", "both", "writes may stop for a lease")
	add("cut-consul-out", "consul", "out", "writes may stop for a lease")
	add("cut-consul-in", "consul", "in", "writes may stop for a lease")
	add("cut-replicas", "nodes", "both", "writes wait until the ack set has shrunk")
	add("cut-replicas-out", "nodes", "out", "writes wait until the ack set has shrunk")
	add("cut-replicas-in", "nodes", "in", "writes wait until the ack set has shrunk")
	add("cut-clients", "clients", "both", "writes stop while it lasts: nobody can fail over for the clients' sake")
	add("cut-consul-and-replicas", "consul+nodes", "both", "writes may stop for a lease")
	for name, from := range map[string]string{"flap-all": "everybody", "flap-consul": "consul", "flap-replicas": "nodes"} {
		all = append(all, fault{name: name, targets: mostlyPrimary, hold: seconds(5, 15), needs: namespaces,
			cost: "writes may stop while it lasts", strike: flap(from)})
	}
	all = append(all,
		fault{name: "lossy", targets: mostlyPrimary, hold: seconds(5, 15), needs: namespaces, cost: "writes may stop while it lasts", strike: lossy},
		fault{name: "slow-link", targets: mostlyPrimary, hold: seconds(5, 15), needs: namespaces, cost: "writes may stop while it lasts", strike: slow},
	)
	return sorted(all)
}

// rules drop packets in a direction, as the host sees it.
func rules(direction string, peers ...string) []netns.Rule {
	return []netns.Rule{{In: direction != "out", Out: direction != "in", Peers: peers}}
}

// peers are the addresses behind a word; none means everybody.
func (s *strike) peers(who string) []string {
	c := s.c.cluster
	switch who {
	case "consul":
		return c.consul.hosts()
	case "nodes":
		return c.addrs(s.target)
	case "clients":
		return []string{c.clients.Addr}
	case "consul+nodes":
		return append(c.addrs(s.target), c.consul.hosts()...)
	}
	return nil
}

func (s *strike) cut(n *node, rules ...netns.Rule) error { return n.host.Drop(s.id, rules...) }

func (s *strike) uncut(n *node) func() error { return func() error { return n.host.Undo(s.id) } }

func cutFrom(who, direction string) func(*strike) (func() error, error) {
	return func(s *strike) (func() error, error) {
		return s.uncut(s.target), s.cut(s.target, rules(direction, s.peers(who)...)...)
	}
}

// flap cuts the links and mends them, again and again.
func flap(who string) func(*strike) (func() error, error) {
	return func(s *strike) (func() error, error) {
		quit, done := make(chan struct{}), make(chan error, 1)
		go func() {
			for {
				if err := s.cut(s.target, rules("both", s.peers(who)...)...); err != nil {
					done <- err
					return
				}
				if s.nap(quit, 2500) {
					done <- nil
					return
				}
				if err := s.target.host.Undo(s.id); err != nil {
					done <- err
					return
				}
				if s.nap(quit, 2500) {
					done <- nil
					return
				}
			}
		}()
		return each(func() error { close(quit); return <-done }, s.uncut(s.target)), nil
	}
}

// nap sleeps for up to most milliseconds; it reports whether quit ended it.
func (s *strike) nap(quit <-chan struct{}, most int) bool {
	select {
	case <-quit:
		return true
	case <-time.After(time.Duration(100+s.rng.IntN(most)) * time.Millisecond):
		return false
	}
}

func lossy(s *strike) (func() error, error) {
	percent := 10 + s.rng.IntN(30)
	s.note("%d %% of the packets of %s are lost", percent, s.target.name)
	return s.uncut(s.target), s.cut(s.target, netns.Rule{In: true, Out: true, Percent: percent})
}

func slow(s *strike) (func() error, error) {
	how, err := s.target.host.Slow()
	if err != nil {
		return nil, fmt.Errorf("slow %s down: %w", s.target.name, err)
	}
	s.note("%s: %s", s.target.name, how)
	return s.target.host.Fast, nil
}
