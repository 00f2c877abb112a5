package consul

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/election"
)

// suspicion is for how long after a request that ran out of time an agent is turned to only when all others are worse:
// longer than anything that waits for Consul can afford to lose a request time-out each second, short enough that an agent
// that is well again is found soon.
const suspicion = 10 * time.Second

// record is what the requests to an agent have shown of it, as [election.Boottime] in nanoseconds; 0: never.
type record struct {
	answered atomic.Int64 // when it last answered well
	hung     atomic.Int64 // when a request to it last ran out of time
}

// note enters the outcome of one request.
func (r *record) note(now time.Duration, err error) {
	switch {
	case err == nil:
		r.answered.Store(int64(now))
	case timedOut(err):
		r.hung.Store(int64(now))
	}
}

func timedOut(err error) bool {
	var e net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &e) && e.Timeout()
}

// hangs reports whether the last thing known of an agent, not long ago, is that it does not answer.
func (r *record) hangs(now time.Duration) bool {
	h := time.Duration(r.hung.Load())
	return h != 0 && h > time.Duration(r.answered.Load()) && now-h < suspicion
}

// moveOn makes another agent the current one after err, unless somebody else has moved on from it already. When all others
// are known not to answer, one that has answered a moment ago, and is now late or answers badly, is given another chance: a
// slow answer of a living agent must not lead to a dead one, where every request runs out of its time.
func (c *Client) moveOn(from *agent, err error) {
	now, count := election.Boottime(), len(c.agents)
	next := int(from.index) + 1
	for i := next; i < next+count-1; i++ {
		if a := c.agents[i%count]; !a.record.hangs(now) {
			c.current.CompareAndSwap(from.index, a.index)
			return
		}
	}
	well := time.Duration(from.record.answered.Load())
	if (timedOut(err) || answered(err)) && well != 0 && now-well < 2*c.timeout {
		return
	}
	c.current.CompareAndSwap(from.index, c.agents[next%count].index)
}
