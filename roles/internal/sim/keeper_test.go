package sim

import (
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// keeper mirrors the agent's: session, lease, and the proof by quorum.
type keeper struct {
	a       *agent
	value   roles.Inc
	bound   string // the session that took the lock
	term    uint64 // the term the server is open for
	lease   *election.Lease
	quorum  *election.Lease
	armed   bool
	alone   bool
	healthy time.Duration
	probing bool
}

func (k *keeper) run(p *proc) {
	for {
		k.beat(p)
		p.pause("beat")
	}
}

func (k *keeper) beat(p *proc) {
	w, lease, value := k.a.w, k.lease, k.value
	healthy := !k.armed || k.a.now()-k.healthy < w.h
	if lease != nil && !k.armed && !lease.Fresh(k.a.now()) && !w.is("a lease that ran out is kept") {
		k.drop()
		lease = nil
	}
	ok := false
	switch {
	case lease == nil:
		k.live(p)
	case !healthy:
	case k.a.session != k.bound && !k.armed:
		lease.Lost()
	case k.a.session != k.bound:
		k.live(p) // to take the lock back with
	case !lease.Fresh(k.a.now()):
		k.regain(p, lease, value)
		ok = k.lease != nil && k.lease.Fresh(k.a.now())
	default:
		ok = k.renew(p, lease, value)
	}
	if lease != nil {
		if !ok {
			k.prove()
		}
		k.feed()
	}
}

func (k *keeper) renew(p *proc, lease *election.Lease, value roles.Inc) bool {
	t0 := k.a.now()
	alive, err := k.pass(p)
	if err != nil {
		return false
	}
	held, err := false, error(nil)
	if alive {
		held, err = k.lock(p, value)
	}
	if err != nil {
		return false
	}
	switch {
	case alive && held:
		return lease.Renewed(t0)
	case alive || !k.armed:
		lease.Lost()
	default: // the session ended; the deadline stays what it is
		k.open(p)
	}
	return false
}

func (k *keeper) pass(p *proc) (bool, error) {
	id := k.a.session
	return p.consulCall("pass check", func() bool {
		s := k.a.w.consul.sessions[id]
		if s != nil {
			s.deadline = k.a.w.now + k.a.w.ttl
		}
		return s != nil
	})
}

func (k *keeper) lock(p *proc, value roles.Inc) (bool, error) {
	id := k.a.session
	return p.consulCall("acquire lock", func() bool { return k.a.w.consul.lock(id, value) })
}

func (k *keeper) live(p *proc) {
	if k.a.session != "" {
		if alive, err := k.pass(p); err != nil || alive {
			return
		}
	}
	k.open(p)
}

func (k *keeper) open(p *proc) {
	w, id := k.a.w, ""
	ok, err := p.consulCall("open session", func() bool { id = w.consul.open(k.a.id, w.now+w.ttl); return true })
	if err == nil && ok {
		k.a.session = id
	}
}

func (k *keeper) regain(p *proc, lease *election.Lease, value roles.Inc) {
	if k.quorum == nil || !k.quorum.Fresh(k.a.now()) {
		return
	}
	t0 := k.a.now()
	alive, err := k.pass(p)
	if err != nil {
		return
	}
	if !alive {
		k.open(p)
		return
	}
	v, err := p.refresh()
	if err != nil || v.Leader.Free() || v.Leader.Session != k.a.session {
		return
	}
	if ok, err := k.lock(p, value); err == nil && ok && k.lease == lease {
		k.lease = election.NewLease(k.a.w.h)
		k.lease.Renewed(t0)
	}
}

// prove commits a row of its own and takes its acknowledgement for a proof.
func (k *keeper) prove() {
	w, q := k.a.w, k.quorum
	if k.alone && k.armed && q != nil && k.a.now()-k.healthy < w.h {
		k.proven(k.a.now())
		return
	}
	if !k.armed || k.probing || q == nil || w.full() {
		return
	}
	k.probing = true
	k.a.begin("probe", func(p *proc) {
		defer func() { k.probing = false }()
		t0, id := k.a.now(), -1
		if p.sql("commit marker", func(s *server) {
			if !s.ro {
				id = w.commit(s, false)
			}
		}) != nil || id < 0 {
			return
		}
		for range 5 {
			p.pause("wait for marker")
			if k.a.srv.exec.has(id) && k.quorum == q {
				k.proven(t0)
				k.feed()
				return
			}
		}
	})
}

// proven notes a proof by quorum; one begun while any proof still held begins a new lease of its own.
func (k *keeper) proven(t0 time.Duration) {
	if k.quorum.Renewed(t0) {
		return
	}
	if d, ok := k.deadline(); ok && t0 < d {
		k.quorum = election.NewLease(k.a.w.h)
		k.quorum.Renewed(t0)
	}
}

func (k *keeper) deadline() (time.Duration, bool) {
	if k.lease == nil {
		return 0, false
	}
	d, ok := k.lease.Deadline()
	if q, qok := k.quorum.Deadline(); qok && (!ok || q > d) {
		d, ok = q, true
	}
	return d, ok
}

func (k *keeper) feed() {
	if d, ok := k.deadline(); ok && k.armed {
		k.a.fed, k.a.mem = d+k.a.w.f/2, k.remembered()
	}
}

func (k *keeper) held() bool { return k.lease != nil && k.lease.Fresh(k.a.now()) }

func (k *keeper) provable() bool { return k.held() || k.lease != nil && k.quorum.Fresh(k.a.now()) }

func (k *keeper) hold(t0 time.Duration, id string, value roles.Inc) {
	k.bound, k.value, k.lease, k.quorum = id, value, election.NewLease(k.a.w.h), election.NewLease(k.a.w.h)
	k.lease.Renewed(t0)
	k.healthy = max(k.healthy, t0)
}

func (k *keeper) drop() { k.lease, k.quorum = nil, nil }

func (k *keeper) acquire(p *proc, value roles.Inc) (bool, error) {
	if k.a.session == "" {
		if k.open(p); k.a.session == "" {
			return false, errUnreachable
		}
	}
	t0, id := k.a.now(), k.a.session
	ok, err := k.lock(p, value)
	if err == errUnknown {
		k.destroy(p)
		return false, err
	}
	if err != nil || !ok {
		return false, err
	}
	k.hold(t0, id, value)
	return true, nil
}

func (k *keeper) release(p *proc) error {
	k.drop()
	id := k.a.session
	_, err := p.consulCall("release lock", func() bool { return k.a.w.consul.unlock(id) })
	return err
}

// destroy ends the session; after an error the id is kept.
func (k *keeper) destroy(p *proc) {
	k.drop()
	id := k.a.session
	if _, err := p.consulCall("destroy session", func() bool { k.a.w.consul.end(id); return true }); err == nil {
		k.a.session = ""
	}
}
