package compose

import (
	"fmt"
	"strings"
)

// Direction of packets that get lost, seen from the container.
type Direction string

// The directions.
const (
	Both Direction = "both"
	In   Direction = "in"
	Out  Direction = "out"
)

// Cut drops all packets between a container and others, by a packet filter in its own network.
func (p *Project) Cut(c Container, d Direction, from ...Container) {
	p.t.Helper()
	var ips []string
	for _, o := range from {
		ips = append(ips, o.IP)
	}
	set := "{ " + strings.Join(ips, ", ") + " }"
	rules := "add table ip fault\n"
	if d != Out {
		rules += fmt.Sprintf("add chain ip fault in { type filter hook input priority -300 ; }\nadd rule ip fault in ip saddr %s drop\n", set)
	}
	if d != In {
		rules += fmt.Sprintf("add chain ip fault out { type filter hook output priority -300 ; }\nadd rule ip fault out ip daddr %s drop\n", set)
	}
	p.In(c, "nft", rules)
}

// Heal removes what Cut did.
func (p *Project) Heal(c Container) {
	p.t.Helper()
	p.In(c, "nft", "delete table ip fault")
}

// Lose drops that many of a hundred packets in each direction, at random; Heal ends it.
func (p *Project) Lose(c Container, percent int) {
	p.t.Helper()
	drop := fmt.Sprintf("numgen random mod 100 < %d drop", percent)
	p.In(c, "nft", "add table ip fault\n"+
		"add chain ip fault in { type filter hook input priority -300 ; }\nadd rule ip fault in iifname != lo "+drop+"\n"+
		"add chain ip fault out { type filter hook output priority -300 ; }\nadd rule ip fault out oifname != lo "+drop)
}

// Slow lets through that many bytes per second in each direction and drops the rest; Heal ends it. It polices and does
// not queue as netem would: sch_netem is missing in many container hosts' kernels, nftables is not.
func (p *Project) Slow(c Container, bytesPerSecond int) {
	p.t.Helper()
	drop := fmt.Sprintf("limit rate over %d bytes/second burst 16 kbytes drop", bytesPerSecond)
	p.In(c, "nft", "add table ip fault\n"+
		"add chain ip fault in { type filter hook input priority -300 ; }\nadd rule ip fault in iifname != lo "+drop+"\n"+
		"add chain ip fault out { type filter hook output priority -300 ; }\nadd rule ip fault out oifname != lo "+drop)
}
