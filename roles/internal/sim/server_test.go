package sim

import (
	"math/bits"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// set is a set of writes; a run makes at most 64.
type set uint64

func one(w int) set          { return 1 << uint(w) }
func (s set) has(w int) bool { return s&one(w) != 0 }
func (s set) in(o set) bool  { return s&^o == 0 }
func (s set) count() int     { return bits.OnesCount64(uint64(s)) }

// An account's state at a source.
type account uint8

const (
	none account = iota
	locked
	unlocked
)

// stream is a dump thread at src and, until closed, a receiver at dst.
type stream struct {
	src, dst int
	rid      string // which start of the receiver
	armed    bool
	began    bool  // something has arrived, so the receiver knows where it is
	next     int   // index into the source's binary log
	acks     []int // acknowledged lengths of the binary log, on their way
	closed   bool  // the receiver has let go; what it sent may still arrive
}

// server is one mysqld and its data directory.
type server struct {
	node int
	up   bool
	boot int // which start of the server: its pid
	uuid string
	seq  int

	ro, offline bool
	closing     bool // super_read_only=ON waits for commits under way; nobody begins another one
	throttled   bool // commits are slowed down
	binlog      []int
	purged      int // so many of these are in no binary log any more
	exec        set // committed
	wait        set // in the binary log, waiting for acknowledgements
	client      set // of these, whose client is still there to be told
	begun       set // committed to the binary log with the source side off
	free        set // of these, begun with the source side off: on the way to the client, waiting for nobody
	srcOn       bool
	k           int
	acked       map[int]int // node → length of the binary log it has acknowledged
	accounts    []account

	source      int // -1: no channel
	receiver    roles.ThreadState
	rid         string
	starts      int
	applier     roles.ThreadState
	armedWanted bool
	armed       bool
	recv        set
	relay       []int // received, not yet executed, in order
	posUUID     string
	pos         int
	packet      time.Duration
	ioErr       bool // the source has purged what this server lacks
}

func newServer(node, nodes int, uuid string) *server {
	return &server{node: node, uuid: uuid, ro: true, offline: true, source: -1, receiver: roles.Off, applier: roles.Off,
		accounts: make([]account, nodes), acked: map[int]int{}}
}

// has is everything in the two logs.
func (s *server) has() set { return s.exec | s.wait | s.recv }

// position is what the server says it holds: commits that wait are in no status.
func (s *server) position() set { return s.exec | s.recv }

func (s *server) undrained() set { return s.recv &^ s.exec }

// open says whether a client could write.
func (s *server) open() bool { return s.up && !s.ro && !s.offline }

// start brings the server up: closed, everything in the binary log committed.
func (s *server) start() {
	s.up = true
	s.boot++
	s.exec |= s.wait
	s.wait, s.client, s.free, s.begun = 0, 0, 0, 0
	s.ro, s.offline, s.srcOn, s.k, s.closing, s.throttled = true, true, false, 0, false, false
	s.receiver, s.applier, s.armed, s.armedWanted, s.rid = roles.Off, roles.Off, false, false, ""
	clear(s.acked)
}

// kill is SIGKILL.
func (w *world) kill(s *server) {
	if !s.up {
		return
	}
	s.up, s.client, s.receiver, s.rid = false, 0, roles.Off, ""
	for _, x := range append([]*stream{}, w.streams...) {
		if x.src == s.node {
			w.sever(x)
		} else if x.dst == s.node {
			x.closed = true
		}
	}
}

// sever ends a dump thread; what was on its way in either direction is lost.
func (w *world) sever(x *stream) {
	for i, o := range w.streams {
		if o == x {
			w.streams = append(w.streams[:i:i], w.streams[i+1:]...)
			break
		}
	}
	if d := w.nodes[x.dst].srv; !x.closed && d.receiver == roles.On && d.rid == x.rid {
		d.receiver = roles.Connecting
	}
	x.closed = true
}

// commit writes one transaction at an open server.
func (w *world) commit(s *server, client bool) int {
	id := w.newWrite(s)
	s.binlog = append(s.binlog, id)
	s.wait |= one(id)
	if client {
		s.client |= one(id)
	}
	if !s.srcOn {
		s.free |= one(id)
		s.begun |= one(id)
	}
	w.settle(s)
	return id
}

// settle completes the commits that have what they wait for, in order.
func (w *world) settle(s *server) {
	begun := s.begun &^ s.free
	for at, id := range s.binlog {
		if !s.wait.has(id) {
			continue
		}
		if s.free.has(id) {
			return
		}
		need, have := s.k, 0
		if !s.srcOn || begun.has(id) {
			need = 0
		}
		for _, upTo := range s.acked {
			if upTo > at {
				have++
			}
		}
		if have < need {
			return
		}
		s.wait &^= one(id)
		s.exec |= one(id)
		if s.client.has(id) {
			s.client &^= one(id)
			w.acknowledged(s, id)
		}
	}
}

// connect lets a receiver in, if its source does.
func (w *world) connect(d *server) {
	for _, x := range append([]*stream{}, w.streams...) { // the server ends a dump thread that its replica asks for again
		if x.src == d.source && x.dst == d.node {
			w.sever(x)
		}
	}
	w.streams = append(w.streams, &stream{src: d.source, dst: d.node, rid: d.rid, armed: d.armedWanted})
	d.receiver, d.armed, d.packet = roles.On, d.armedWanted, w.now
}

// deliver carries the next transaction that the receiver lacks.
func (w *world) deliver(x *stream) {
	s, d := w.nodes[x.src].srv, w.nodes[x.dst].srv
	d.packet = w.now
	if !x.began && !s.gonePart().in(d.position()) { // 1236
		w.stopReceiver(d)
		d.ioErr = true
		return
	}
	if !x.began || d.posUUID != s.uuid { // where it begins; what it holds already is passed over
		x.began = true
		d.posUUID, d.pos = s.uuid, 0
	}
	for x.next < len(s.binlog) && d.position().has(s.binlog[x.next]) {
		x.next++
	}
	if x.next < len(s.binlog) {
		id := s.binlog[x.next]
		x.next++
		d.recv |= one(id)
		d.relay = append(d.relay, id)
		if x.armed && s.srcOn {
			x.acks = append(x.acks, x.next)
		}
		for x.next < len(s.binlog) && d.position().has(s.binlog[x.next]) {
			x.next++
		}
	}
	d.pos = x.next
}

// arrive takes the next acknowledgement; it covers everything before it.
func (w *world) arrive(x *stream) {
	s := w.nodes[x.src].srv
	s.acked[x.dst] = max(s.acked[x.dst], x.acks[0])
	x.acks = x.acks[1:]
	w.settle(s)
}

// apply executes the next received transaction. With the source side on it waits like any other commit.
func (w *world) apply(s *server) {
	id := s.relay[0]
	s.relay = s.relay[1:]
	if s.exec.has(id) || s.wait.has(id) {
		return
	}
	s.binlog = append(s.binlog, id)
	s.wait |= one(id)
	w.settle(s)
}

// stopReceiver returns with the receiver off; what it sent may still arrive.
func (w *world) stopReceiver(s *server) {
	for _, x := range w.streams {
		if x.dst == s.node {
			x.closed = true
		}
	}
	s.receiver, s.armed, s.rid = roles.Off, false, ""
}

// loseRelay is a power cut before the relay log was synced: some of its end is gone.
func (s *server) loseRelay(keep int) {
	for _, id := range s.relay[keep:] {
		s.recv &^= one(id)
	}
	s.relay = s.relay[:keep]
}
