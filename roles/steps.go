package roles

import "time"

// Op is something to do inside a state. Every op is idempotent, bounded in time by the agent, and safe to lose:
// the next tick decides again from fresh facts.
type Op string

// The operations.
const (
	StartMysqld Op = "start-mysqld"
	StopMysqld  Op = "stop-mysqld"
	Found       Op = "found"        // create the database and the cluster's records (long)
	PutBack     Op = "put-back"     // write lost cluster records again from what all members remember
	Restore     Op = "restore"      // get a data directory from a snapshot or a donor (long)
	Archive     Op = "archive"      // keep what only this node holds, and give its data up (long)
	Fence       Op = "fence"        // no client may be served any more; kill mysqld rather than doubt
	Close       Op = "close"        // read-only again, without touching replication
	SealReceive Op = "seal"         // stop the receiver, confirm it stopped, make the promise durable
	PublishSeal Op = "publish-seal" // tell the others position and promise, while the lock is free
	Acquire     Op = "acquire"
	Drain       Op = "drain" // apply everything received
	Promote     Op = "promote"
	Release     Op = "release"
	Expect      Op = "expect" // FOLLOW up to the receiver's start, while the winner of an election opens its term
	FollowOp    Op = "follow"
	Confirm     Op = "confirm" // answer the primary's checkpoint
	Unlock      Op = "unlock"  // open a follower's replication account at this primary
	Lock        Op = "lock"    // close it and end its stream
	LockAll     Op = "lock-all"
	WriteSync   Op = "write-sync" // compare-and-set on sync, guarded by the lock
	SetK        Op = "set-k"
	Ask         Op = "ask" // publish a checkpoint
	Marker      Op = "marker"
	TakeBack    Op = "take-back"
	GiveUp      Op = "give-up" // condemn this node's data, at an operator's wish
	Force       Op = "force"   // write this node into sync as all that is left, at an operator's risk
	Dismiss     Op = "dismiss" // take a node out of the cluster for good
	Forget      Op = "forget"  // delete the records of a removed node that has ended

	PlanHandover   Op = "plan-hand-over" // announce it; writes go on
	DropHandover   Op = "drop-hand-over" // before the offer
	Throttle       Op = "throttle"       // slow the writes down, or no longer
	MakeOffer      Op = "make-offer"     // end the writes and offer the term
	TakeWritesBack Op = "take-writes-back"
	Prepare        Op = "prepare"   // let the chained in, and say so
	Unprepare      Op = "unprepare" // no candidate any more
	Chain          Op = "chain"     // receive from the candidate
	TakeOver       Op = "take-over"
	MoveRequest    Op = "move-request"
)

// Step is one operation with its operands.
type Step struct {
	Op   Op
	Node Inc    // whom it concerns
	K    int    // SetK
	Sync Sync   // WriteSync, Promote, TakeBack, PutBack: what to write at Sync.Ver
	For  string // Ask: what the checkpoint is for; DropHandover, TakeWritesBack: why; GiveUp, Force, Dismiss, PutBack ("" for none): the request
	Why  string

	Delay   time.Duration // Throttle: of every group of commits; 0 ends it
	Handing *Handing      // PlanHandover
	Request *Request      // PlanHandover (nil for none), MoveRequest: its next version
}

// Decision is what follows from the facts: an event that fires a rule, or steps to do now, or nothing but a reason
// for waiting. Why is always a sentence an operator can read.
type Decision struct {
	Event Event
	Steps []Step
	Why   string
}

func fire(e Event, why string) Decision { return Decision{Event: e, Why: why} }
func wait(why string) Decision          { return Decision{Why: why} }
func do(op Op, why string) Decision {
	return Decision{Steps: []Step{{Op: op, Why: why}}, Why: why}
}
func doStep(s Step) Decision { return Decision{Steps: []Step{s}, Why: s.Why} }
