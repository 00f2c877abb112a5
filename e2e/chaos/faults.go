package chaos

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"time"
)

// fault is one kind of trouble. Whatever it is, it never costs an acknowledged write.
type fault struct {
	name    string
	targets []string         // roles it strikes, one is drawn: primary, standby, any; none: it needs no node
	hold    [2]time.Duration // how long it lasts, from and to
	solo    bool             // never together with another one: what it may cost is only known alone
	takes   memory           // of what the cluster has agreed on
	needs   need
	cost    string        // what it may cost while it lasts
	bound   time.Duration // writes go through again so long after it has ended; 0 is usualBound
	off     string        // why it is not drawn at present
	strike  func(*strike) (heal func() error, err error)
}

// memory of what the cluster has agreed on is in Consul and with each node. Who loses both at once needs an operator: nobody
// could know whether the node that forgot knew more (docs/operations.md). So no round takes both.
type memory string

const (
	ofNode   memory = "a node's"
	ofConsul memory = "Consul's"
)

// need is what must be there for a fault.
type need int

const (
	nothing      need = iota
	namespaces        // links that can be cut
	volumes           // volumes that can be filled
	reboots           // a boot id and clocks of a node's own
	threeConsuls      // Consul of three servers
)

// The machine is shared: these are far above what a healthy run needs, and say that something is stuck.
const (
	usualBound = 2 * time.Minute
	wholeBound = 6 * time.Minute
)

// stretched is a bound on a machine that is busy with other things: up to five times as long.
func stretched(bound time.Duration) time.Duration {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return bound
	}
	var load float64
	if _, err := fmt.Sscan(string(b), &load); err != nil {
		return bound
	}
	factor := min(5, max(1, load/float64(6*runtime.NumCPU())))
	return time.Duration(float64(bound) * factor)
}

// strike is one fault happening.
type strike struct {
	c      *campaign
	name   string
	id     string
	target *node
	hold   time.Duration
	rng    *rand.Rand
}

func (s *strike) note(format string, args ...any) {
	s.c.note("%s: %s", s.name, fmt.Sprintf(format, args...))
}

func seconds(from, to float64) [2]time.Duration {
	return [2]time.Duration{time.Duration(from * float64(time.Second)), time.Duration(to * float64(time.Second))}
}

var (
	mostlyPrimary = []string{"primary", "primary", "primary", "standby"}
	onlyPrimary   = []string{"primary"}
	onlyStandby   = []string{"standby"}
)

// catalogue is every fault this campaign knows.
func catalogue() []fault {
	return slices.Concat(processFaults(), linkFaults(), consulFaults(), sqlFaults(), diskFaults(), clusterFaults(), rebootFaults(), quorumFaults())
}

// choose picks the faults to draw from. only and also come from the environment: the first restricts, the second
// switches on what is off.
func choose(only, also []string, can func(need) bool) (chosen []fault, left map[string]string, err error) {
	left = map[string]string{}
	known := map[string]bool{}
	for _, f := range catalogue() {
		known[f.name] = true
		asked := slices.Contains(also, f.name) || slices.Contains(also, "all") || slices.Contains(only, f.name)
		switch {
		case len(only) > 0 && !slices.Contains(only, f.name):
		case !can(f.needs):
			left[f.name] = "it needs " + map[need]string{namespaces: "network namespaces", volumes: "a volume of its own per node, which comes with the namespaces",
				reboots: "mount and time namespaces", threeConsuls: "a Consul of three servers (CHAOS_CONSUL=3)"}[f.needs]
		case f.off != "" && !asked:
			left[f.name] = f.off
		default:
			chosen = append(chosen, f)
		}
	}
	for _, name := range slices.Concat(only, also) {
		if !known[name] && name != "all" {
			return nil, nil, fmt.Errorf("there is no fault %q", name)
		}
	}
	if len(chosen) == 0 {
		return nil, nil, fmt.Errorf("no fault is left to draw from: %v", left)
	}
	return chosen, left, nil
}

// each is a heal that undoes several things and tells of the first that failed.
func each(undo ...func() error) func() error {
	return func() error {
		var first error
		for _, u := range undo {
			if u == nil {
				continue
			}
			if err := u(); err != nil && first == nil {
				first = err
			}
		}
		return first
	}
}
