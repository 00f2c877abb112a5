package explore

// start brings a server up: closed, with everything in its binary log committed.
func (v *server) start() {
	v.up = true
	v.exec |= v.wait
	v.wait, v.client = 0, 0
	v.ro, v.offline, v.srcOn, v.k = true, true, false, 0
	v.receiver, v.armed, v.armedWanted, v.rid = off, false, false, 0
	v.acked = [nodes]uint8{}
}

// kill is SIGKILL.
func (s *state) kill(n int) {
	v := &s.node[n].srv
	if !v.up {
		return
	}
	v.up, v.client, v.receiver, v.rid, v.armed = false, 0, off, 0, false
	v.ro, v.offline, v.srcOn, v.k, v.acked = true, true, false, 0, [nodes]uint8{}
	for d := range nodes {
		if s.in[d].there && int(s.in[d].src) == n {
			s.sever(d)
		}
		if s.late[d].there && int(s.late[d].src) == n {
			s.late[d] = stream{}
		}
	}
	s.letGo(n)
}

// sever ends the open stream to d; what was on its way is lost.
func (s *state) sever(d int) {
	v := &s.node[d].srv
	if s.in[d].there && v.receiver == on {
		v.receiver = connecting
	}
	s.in[d] = stream{}
}

// letGo is the receiver's end: its acknowledgements may still arrive, its dump thread may still be there.
func (s *state) letGo(d int) {
	if x := s.in[d]; x.there {
		x.open = false
		s.late[d] = x
		s.in[d] = stream{}
	}
}

func (s *state) stopReceiver(d int) {
	s.letGo(d)
	v := &s.node[d].srv
	v.receiver, v.armed, v.rid = off, false, 0
}

// killDumps ends the streams of one receiver at src, or all with -1.
func (s *state) killDumps(src, dst int) {
	for d := range nodes {
		if dst >= 0 && d != dst {
			continue
		}
		if s.in[d].there && int(s.in[d].src) == src {
			s.sever(d)
		}
		if s.late[d].there && int(s.late[d].src) == src {
			s.late[d] = stream{}
		}
	}
}

func (s *state) commit(n int) {
	v := &s.node[n].srv
	w := s.made
	s.made++
	v.binlog.add(w)
	v.wait |= one(w)
	v.client |= one(w)
	s.settle(n)
}

// settle completes the commits that have what they wait for, in order.
func (s *state) settle(n int) {
	v := &s.node[n].srv
	for at := range int(v.binlog.n) {
		id := v.binlog.at[at]
		if !v.wait.has(int(id)) {
			continue
		}
		have := uint8(0)
		for _, upTo := range v.acked {
			if int(upTo) > at {
				have++
			}
		}
		if v.srcOn && have < v.k {
			return
		}
		v.wait &^= one(id)
		v.exec |= one(id)
		if v.client.has(int(id)) {
			v.client &^= one(id)
			s.acked |= one(id)
			if s.opener >= 0 && n != int(s.opener) && !s.openHist.has(int(id)) {
				s.fail(lostLater)
			}
		}
	}
}

func (s *state) setK(n int, k uint8) {
	v := &s.node[n].srv
	if v.srcOn != (k > 0) {
		v.acked = [nodes]uint8{}
	}
	v.srcOn, v.k = k > 0, k
	s.settle(n)
}

func (s *state) connect(d int) {
	v := &s.node[d].srv
	s.sever(d)
	if s.late[d].there && int8(s.late[d].src) == v.source { // the server ends a dump thread that its replica asks for again
		s.late[d] = stream{}
	}
	s.in[d] = stream{there: true, open: true, src: uint8(v.source), armed: v.armedWanted}
	v.receiver, v.armed = on, v.armedWanted
}

func (s *state) deliver(d int) {
	x, v := &s.in[d], &s.node[d].srv
	src := &s.node[x.src]
	if !x.began {
		x.began = true
		v.posOf, v.pos = mkInc(int(x.src), int(src.disk.rebuilds)), 0
	}
	skip := func() {
		for x.next < src.srv.binlog.n && v.position().has(int(src.srv.binlog.at[x.next])) {
			x.next++
		}
	}
	skip()
	if x.next < src.srv.binlog.n {
		id := src.srv.binlog.at[x.next]
		x.next++
		v.recv |= one(id)
		v.relay.add(id)
		if x.armed && src.srv.srcOn {
			x.ack = x.next
		}
		skip()
	}
	v.pos = x.next
}

// arrive takes an acknowledgement; it covers everything before it.
func (s *state) arrive(x *stream, d int) {
	v := &s.node[x.src].srv
	v.acked[d] = max(v.acked[d], x.ack)
	x.ack = 0
	s.settle(int(x.src))
}

func (v *server) apply() {
	for v.relay.n > 0 {
		id := v.relay.shift()
		if !v.exec.has(int(id)) && !v.wait.has(int(id)) {
			v.binlog.add(id)
			v.exec |= one(id)
		}
	}
}

// loseRelay takes the end of what was received and not executed.
func (v *server) loseRelay() {
	for v.relay.n > 0 {
		v.recv &^= one(v.relay.shift())
	}
}
