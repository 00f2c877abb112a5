package roles

import (
	"fmt"
	"strconv"
	"strings"
)

// release is a version of MySQL.
type release struct{ major, minor, patch int }

// lts are the long-term series, oldest first. MySQL's rules are about them: an upgrade may not pass over one, and only
// within one may a server go back.
var lts = []release{{major: 8, minor: 4}, {major: 9, minor: 7}}

// readRelease reads "9.7.4" or "9.7.4-2-log"; ok is false for what is none.
func readRelease(s string) (r release, ok bool) {
	parts := strings.SplitN(s, ".", 3)
	if len(parts) != 3 {
		return r, false
	}
	end := strings.IndexFunc(parts[2], func(c rune) bool { return c < '0' || c > '9' })
	if end >= 0 {
		parts[2] = parts[2][:end]
	}
	for i, to := range []*int{&r.major, &r.minor, &r.patch} {
		n, err := strconv.Atoi(parts[i])
		if err != nil || n < 0 {
			return r, false
		}
		*to = n
	}
	return r, true
}

func (r release) series() release { return release{major: r.major, minor: r.minor} }

func (r release) String() string {
	return strconv.Itoa(r.major) + "." + strconv.Itoa(r.minor)
}

func (r release) less(o release) bool {
	switch {
	case r.major != o.major:
		return r.major < o.major
	case r.minor != o.minor:
		return r.minor < o.minor
	}
	return r.patch < o.patch
}

func (r release) longTerm() bool {
	for _, l := range lts {
		if l == r.series() {
			return true
		}
	}
	return false
}

// passedOver is the long-term series between two releases, which an upgrade has to stop at.
func passedOver(from, to release) (release, bool) {
	for _, l := range lts {
		if from.series().less(l) && l.less(to.series()) {
			return l, true
		}
	}
	return release{}, false
}

// MayOpenData says whether a server of version now may start on data that one of version was used last; the error is a
// sentence for an operator. A version that is not known is no obstacle: mysqld looks for itself. What mysqld would refuse
// only after it has touched the data is refused before.
func MayOpenData(was, now string) error {
	from, ok1 := readRelease(was)
	to, ok2 := readRelease(now)
	if !ok1 || !ok2 || from == to {
		return nil
	}
	if to.less(from) {
		if from.series() == to.series() && from.longTerm() {
			return nil // MySQL supports going back within a long-term series
		}
		return fmt.Errorf("MySQL %s cannot open data that MySQL %s has used: there is no way back but a rebuild of this node by an older primary, or a snapshot", now, was)
	}
	if over, yes := passedOver(from, to); yes {
		return fmt.Errorf("MySQL %s cannot take over the data of MySQL %s: an upgrade goes by way of %s", now, was, over)
	}
	return nil
}

// MayReplicate says whether a server of version replica may follow one of version source. MySQL's rule: a replica is as
// new as its source or newer, and not across a long-term series; within a series any patch follows any.
func MayReplicate(source, replica string) error {
	s, ok1 := readRelease(source)
	r, ok2 := readRelease(replica)
	if !ok1 || !ok2 || s.series() == r.series() {
		return nil
	}
	if r.less(s) {
		return fmt.Errorf("MySQL %s would follow MySQL %s: a replica must not be older than its source", replica, source)
	}
	if over, yes := passedOver(s, r); yes {
		return fmt.Errorf("MySQL %s would follow MySQL %s, which is older than the series %s between them", replica, source, over)
	}
	return nil
}

// olderThan names the living nodes, but for the node itself, that could not follow it if it were primary.
func olderThan(n Node, v View) (names []string, why error) {
	for _, i := range v.Incs() {
		o := v.Nodes[i]
		if o.Inc == n.Inc || !o.Alive() {
			continue
		}
		if err := MayReplicate(n.Version, o.Version); err != nil {
			names, why = append(names, o.Name), err
		}
	}
	return names, why
}

// refuseVersions says why an operator should not move the primary to a node of a newer series: whoever is left behind
// would have to follow a source that is newer than itself. A primary that is stopped hands over all the same: it does not
// follow anybody, and is upgraded before it does. Nor is a failover held back by this.
func refuseVersions(to Inc, v View) *Refusal {
	n := v.Nodes[to]
	names, why := olderThan(n, v)
	if len(names) == 0 {
		return nil
	}
	h, _ := v.ValidPrimary()
	if len(names) == 1 && names[0] == h.Name {
		return refused(GuardVersions, "%v; stop %s instead, which hands over, and start it anew with the newer version", why, h.Name)
	}
	return refused(GuardVersions, "%v (%s); upgrade the replicas first, see: autopilot-mysql status", why, strings.Join(names, ", "))
}
