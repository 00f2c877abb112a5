package agent

import (
	"encoding/json"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// memory is what an agent leaves with the guard for the next one. It says what the running mysqld was made to be, and
// is only a claim: the next agent goes on by it only where the server, the disk and Consul say the same.
type memory struct {
	Format int       `json:"format"`
	Mysqld int       `json:"mysqld"` // pid of the server it is about
	Inc    roles.Inc `json:"inc"`
	Led    *led      `json:"led,omitempty"`
	Kept   *kept     `json:"kept,omitempty"`
}

// led is the open term of a primary.
type led struct {
	Term    uint64        `json:"term"`
	Session string        `json:"session"`
	Lease   time.Duration `json:"lease"` // deadline of the lease, CLOCK_BOOTTIME
}

// kept is what a follower has confirmed, and for which start of its receiver.
type kept struct {
	Follow   roles.Follow `json:"follow"`
	Checked  uint64       `json:"checked"` // term in which its history was compared with that primary's; 0: not yet
	Receiver string       `json:"receiver"`
}

// memoryFormat is the version of memory; another one is not read.
const memoryFormat = 1

// encode is the form the guard keeps. Nothing to remember is not nil: that would leave what is kept as it is.
func (m memory) encode() []byte {
	if m.Led == nil && m.Kept == nil {
		return []byte{}
	}
	m.Format = memoryFormat
	b, err := json.Marshal(m)
	if err != nil { // plain values
		return []byte{}
	}
	return b
}

// remembered is what a previous agent left about the mysqld with this pid and the data with this incarnation.
func remembered(b []byte, pid int, inc roles.Inc) memory {
	var m memory
	if json.Unmarshal(b, &m) != nil || m.Format != memoryFormat || m.Mysqld != pid || m.Inc != inc {
		return memory{}
	}
	return m
}
