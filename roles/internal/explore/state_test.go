package explore

import "math/bits"

const nodes = 3

// set is a set of writes, one bit each.
type set uint8

func one(w uint8) set        { return 1 << w }
func (s set) has(w int) bool { return s>>w&1 != 0 }
func (s set) in(o set) bool  { return s&^o == 0 }
func (s set) count() int     { return bits.OnesCount8(uint8(s)) }

// log is a list of writes in order.
type log struct {
	n  uint8
	at [6]uint8
}

func (l *log) add(w uint8) {
	l.at[l.n] = w
	l.n++
}

// shift takes the first away.
func (l *log) shift() uint8 {
	w := l.at[0]
	copy(l.at[:], l.at[1:])
	l.n--
	l.at[l.n] = 0
	return w
}

// inc is an incarnation: 0 is nobody, otherwise 1 + node + 3·rebuilds.
type inc uint8

func mkInc(node, rebuilds int) inc { return inc(1 + node + nodes*rebuilds) }
func (i inc) node() int            { return int(i-1) % nodes }
func (i inc) rebuilds() int        { return int(i-1) / nodes }

// incs is a set of incarnations. A node that was rebuilt twice does not fit in: see restore.
type incs uint8

func (s incs) has(i inc) bool { return i != 0 && s>>i&1 != 0 }

// record is the key sync.
type record struct {
	ver, term uint8
	primary   inc
	members   incs
	acks      uint8
}

// role is a roles.State, as a number.
type role uint8

// session of a node; 0 is none.
type session uint8

// stream is a dump thread at src; open as long as the receiver has not let go.
type stream struct {
	there, open, armed, began bool
	src, next                 uint8
	ack                       uint8 // the greatest length acknowledged and on its way
}

// server is one mysqld with its data.
type server struct {
	up, ro, offline, srcOn bool
	k                      uint8
	binlog                 log
	exec, wait, client     set
	unlocked               [nodes]bool
	acked                  [nodes]uint8

	source      int8 // -1: none
	receiver    uint8
	rid         uint8 // which start of the receiver
	armedWanted bool
	armed       bool
	recv        set
	relay       log
	posOf       inc
	pos         uint8
}

// The states of a receiver.
const (
	off uint8 = iota
	connecting
	on
)

func (v *server) position() set  { return v.exec | v.recv }
func (v *server) undrained() set { return v.recv &^ v.exec }
func (v *server) has() set       { return v.exec | v.wait | v.recv }
func (v *server) open() bool     { return v.up && !v.ro && !v.offline }

// follow is what a follower has confirmed.
type follow struct {
	primary inc
	term    uint8
	armed   bool
}

// text is the number of a text, as bytes: a state has no padding, so that it can be hashed as it lies in memory.
type text [2]uint8

// question is a checkpoint; what is the number of the text it is for.
type question struct {
	seq  uint8
	what text
	of   inc
	end  uint8
}

// answer is a confirmation.
type answer struct{ seq, rid uint8 }

// card is a node's record in Consul, as far as decisions look at it.
type card struct {
	inc         inc // 0: never written
	alive       bool
	state       role
	healthy     bool
	promised    uint8
	void        bool
	follow      follow
	armed       bool
	rid         uint8 // 0: not connected
	caught      bool
	answers     [3]answer
	open        uint8
	admits      uint8
	checkpoints [3]question
	plan        plan
	ready       uint8
	drained     uint8
	chain       chain
}

// plan is a hand-over; to is 0 when there is none.
type plan struct {
	seq, term uint8
	to        inc
	chain     incs
	offered   bool
	gtid      set
	ver       uint8
}

// chain is what a node confirms that has turned to a candidate.
type chain struct {
	to        inc
	term, seq uint8
	pos       set
}

// seal is a node's seal.
type seal struct {
	inc       inc
	promise   uint8
	pos       set
	undrained uint8
	void      bool
}

// act is what an agent is about to do: a step it has decided on, or the second half of one.
type act struct {
	op      uint8 // index into ops; 0: nothing
	node    inc
	k       uint8
	sync    record
	what    text
	session session
	armed   bool
	term    uint8
	plan    plan
	spare   incs
	from    int8    // whose lock a takeover takes; -1: nobody's
	prev    session // the session it must still be held by
}

// agent is what an agent remembers; disk survives it.
type agent struct {
	alive       bool
	state       role
	follow      follow
	checked     follow
	promoted    uint8
	leading     record
	openTerm    uint8
	admits      uint8
	checkpoints [3]question
	answers     [3]answer
	act         act
	plan        plan
	ready       uint8
	chain       chain
	spare       incs
	spareTerm   uint8
	took        bool // the term was handed over to it
	expected    bool // follow was confirmed before its primary was open, and nothing was received since
}

type disk struct {
	rebuilds  uint8
	promised  uint8
	void      bool
	condemned bool
	lastTerm  uint8 // of the newest record it acted on: nothing else of that is looked at while Consul loses nothing
}

type node struct {
	disk    disk
	agent   agent
	srv     server
	session session // alive if not 0
}

// left is how often what may still happen.
type left struct{ writes, ends, powers, kills, agents, cuts, orders uint8 }

// state is everything.
type state struct {
	holder  session // of the lock
	lock    int8    // whose; -1: free
	lastHad inc     // the lock's value
	sync    record
	cards   [nodes]card
	seals   [nodes]seal
	node    [nodes]node
	in      [nodes]stream // by receiver
	late    [nodes]stream // a stream whose receiver has let go: by receiver
	flight  act           // a request whose agent has died
	sender  int8

	request uint8 // of an operator, for a switchover: 0 none, 1 open, 2 running
	target  int8  // the node it names

	made     uint8
	acked    set // told to clients; writes by clients
	opener   int8
	openTerm uint8
	openHist set
	left     left
	waited   bool  // all is well, and nothing has happened for long
	broken   uint8 // index into wrongs; 0: nothing
}

// wrongs are the ways to be broken.
var wrongs = []string{"", "an acknowledged write is missing at an opening", "acknowledged by a deposed primary, and not in the new history",
	"two servers can acknowledge", "the record promises more than holds", "a term was opened twice", "no rule in the table"}

const (
	lostAtOpening = 1 + iota
	lostLater
	twoPrimaries
	overPromised
	termTwice
	noRule
)

func (s *state) fail(what uint8) {
	if s.broken == 0 {
		s.broken = what
	}
}
