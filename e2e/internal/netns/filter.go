package netns

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ErrOff means that the network cannot be changed.
var ErrOff = errors.New("there are no namespaces whose network could be changed")

// Rule drops packets of one host.
type Rule struct {
	// In and Out are the directions it concerns, as the host sees them.
	In, Out bool
	// Peers are the addresses at the other end; none means everybody.
	Peers []string
	// Percent of the packets are dropped; 0 means all.
	Percent int
}

// Both drops everything from and to the peers; none means everybody.
func Both(peers ...string) Rule { return Rule{In: true, Out: true, Peers: peers} }

// Drop adds rules under a key, or replaces those of that key.
func (h *Host) Drop(key string, rules ...Rule) error {
	if h.net.off {
		return ErrOff
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.filter[key] = rules
	return h.apply()
}

// Undo takes the rules of a key back; a key without any is fine.
func (h *Host) Undo(key string) error {
	if h.net.off {
		return ErrOff
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.filter[key]; !ok {
		return nil
	}
	delete(h.filter, key)
	return h.apply()
}

// apply puts all rules in force at once.
func (h *Host) apply() error {
	if err := run(ruleset(h.filter), "netns", "exec", h.ns, "nft", "-f", "-"); err != nil {
		return fmt.Errorf("filter packets of %s: %w", h.Name, err)
	}
	return nil
}

// ruleset is one nft transaction: the table is emptied and filled again, and no packet passes between.
func ruleset(filter map[string][]Rule) string {
	var in, out strings.Builder
	for _, key := range slices.Sorted(maps.Keys(filter)) {
		for _, r := range filter[key] {
			if r.In {
				in.WriteString("  " + r.match("saddr") + "drop\n")
			}
			if r.Out {
				out.WriteString("  " + r.match("daddr") + "drop\n")
			}
		}
	}
	return "table inet chaos {}\ndelete table inet chaos\ntable inet chaos {\n" +
		" chain in {\n  type filter hook input priority 0; policy accept;\n  iifname \"lo\" accept\n" + in.String() + " }\n" +
		" chain out {\n  type filter hook output priority 0; policy accept;\n  oifname \"lo\" accept\n" + out.String() + " }\n}\n"
}

func (r Rule) match(side string) string {
	var m string
	if len(r.Peers) > 0 {
		m = "ip " + side + " { " + strings.Join(r.Peers, ", ") + " } "
	}
	if r.Percent > 0 {
		m += fmt.Sprintf("numgen random mod 100 < %d ", r.Percent)
	}
	return m
}

// Slow delays what the host sends: by netem where the kernel has it, else by a narrow link with a queue. It says which.
func (h *Host) Slow() (how string, err error) {
	if h.net.off {
		return "", ErrOff
	}
	tc := []string{"netns", "exec", h.ns, "tc", "qdisc", "replace", "dev", "eth0", "root"}
	if err := run("", append(tc, "netem", "delay", "80ms", "40ms", "loss", "1%")...); err == nil {
		return "netem delay 80ms ±40ms, loss 1%", nil
	}
	return "a link of 800 kbit/s", run("", append(tc, "tbf", "rate", "800kbit", "burst", "8kb", "latency", "300ms")...)
}

// Fast ends Slow; a host that is not slow is fine.
func (h *Host) Fast() error {
	if h.net.off {
		return ErrOff
	}
	err := run("", "netns", "exec", h.ns, "tc", "qdisc", "del", "dev", "eth0", "root")
	if err != nil && (strings.Contains(err.Error(), "Cannot delete qdisc") || strings.Contains(err.Error(), "No such file")) {
		return nil
	}
	return err
}
