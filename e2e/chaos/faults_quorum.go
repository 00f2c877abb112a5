package chaos

import (
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/sys/unix"
)

// quorumFaults are what happens to a Consul of three servers only.
func quorumFaults() []fault {
	return []fault{
		{name: "consul-leader-killed", hold: seconds(2, 15), needs: threeConsuls, cost: "nothing, or a lease", strike: consulLeader(false)},
		{name: "consul-leader-frozen", hold: seconds(4, 15), needs: threeConsuls, cost: "nothing, or a lease", strike: consulLeader(true)},
		{name: "consul-quorum-lost", hold: seconds(2, 20), needs: threeConsuls, cost: "nothing, or a lease", strike: consulQuorum},
		{name: "consul-restarted", hold: seconds(5, 10), needs: threeConsuls, cost: "nothing, or a lease", strike: consulRestarted},
	}
}

// leader finds Consul's own leader.
func (c *consulServer) leader() (*consulServer, error) {
	var addr string
	if err := c.ask(http.MethodGet, "/v1/status/leader", nil, &addr); err != nil {
		return nil, err
	}
	for _, s := range c.servers() {
		if strings.HasPrefix(addr, s.host.Addr+":") {
			return s, nil
		}
	}
	return nil, fmt.Errorf("Consul has no leader: %w", errNotNow)
}

func consulLeader(freeze bool) func(*strike) (func() error, error) {
	return func(s *strike) (func() error, error) {
		l, err := s.consul().leader()
		if err != nil {
			return nil, err
		}
		s.note("%s leads Consul", l.name)
		if freeze {
			list := pids(l.all())
			return each(l.thaw(list...), s.c.consulReady), signal(unix.SIGSTOP, list...)
		}
		l.hold()
		return each(l.free, s.c.consulReady), l.kill()
	}
}

// consulQuorum leaves one server of three.
func consulQuorum(s *strike) (func() error, error) {
	stays := s.rng.IntN(3)
	var undo []func() error
	for i, x := range s.consul().servers() {
		if i == stays {
			continue
		}
		x.hold()
		undo = append(undo, x.free)
		if err := x.kill(); err != nil {
			return each(undo...), err
		}
	}
	return each(append(undo, s.c.consulReady)...), nil
}

// consulRestarted restarts one server after the other, as an upgrade does.
func consulRestarted(s *strike) (func() error, error) {
	for _, i := range s.rng.Perm(3) {
		x := s.consul().servers()[i]
		s.note("%s is restarted", x.name)
		x.hold()
		if err := x.kill(); err != nil {
			return x.free, err
		}
		if s.rng.IntN(2) == 0 {
			s.nap(nil, 3000)
		}
		if err := x.free(); err != nil {
			return s.c.consulReady, err
		}
		if s.rng.IntN(2) == 0 {
			if err := s.c.consulReady(); err != nil {
				return nil, err
			}
		}
	}
	return s.c.consulReady, nil
}

// discovery is the server that a client asks now: each in turn, as a list of addresses is used.
func (c *consulServer) discovery() string {
	all := c.servers()
	return all[int(c.turn.Add(1))%len(all)].addr()
}

func consulServices(c *consulServer) (list []*service) {
	for _, s := range c.servers() {
		list = append(list, &s.service)
	}
	return list
}
