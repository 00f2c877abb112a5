package show

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// facts are the lines below the table.
func (p *printer) facts(d cluster.Doc) {
	p.fact("ack set", ackSet(d.AckSet))
	p.fact("lease", lease(d.Lease))
	p.fact("failovers", p.failovers(d.Failovers))
	for i, s := range positions(d.Nodes) {
		label := "position"
		if i > 0 {
			label = ""
		}
		p.fact(label, s)
	}
	p.fact("snapshot", p.snapshot(d.Snapshot))
	for i, r := range d.Requests {
		label := "request"
		if i > 0 {
			label = ""
		}
		p.fact(label, RequestLine(r))
	}
	p.fact("settings", settings(d.Settings))
	p.fact("archive", archive(d.Archive))
	p.fact("consul", d.Consul)
	p.fact("store", d.Store)
}

func (p *printer) fact(label, value string) {
	if value = clean(value); value != "" {
		p.line(p.paint(fmt.Sprintf("%-10s", label), dim), value)
	}
}

// settings are the cluster-wide ones, by name.
func settings(values map[string]string) string {
	parts := make([]string, 0, len(values))
	for name, value := range values {
		parts = append(parts, name+"="+value)
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

func ackSet(a cluster.AckSetDoc) string {
	if len(a.Members) == 0 {
		return "none yet"
	}
	acks := fmt.Sprintf("%d acknowledgements", a.Acks)
	if a.Acks == 1 {
		acks = "1 acknowledgement"
	}
	return strings.Join(a.Members, ", ") + "; " + acks + " for each write"
}

func lease(l cluster.LeaseDoc) string {
	switch {
	case l.Holder == "":
		return "nobody holds it"
	case l.ExpiresInMS < 0:
		return l.Holder + " holds the lock, and does not say for how long"
	}
	return fmt.Sprintf("%s, proved for %.1f s more when it last said so", l.Holder, float64(l.ExpiresInMS)/1000)
}

// failovers says how often the cluster took over by itself, and what bounds it; nothing as long as there was none.
func (p *printer) failovers(f cluster.FailoversDoc) string {
	if f.Last == nil {
		return ""
	}
	s := fmt.Sprintf("%d by itself within the last hour, the last from %s to %s %s ago", f.LastHour, f.Last.From, f.Last.To, p.Now.Sub(f.Last.At).Round(time.Second))
	if f.CooldownMS > 0 {
		s += fmt.Sprintf("; cooldown %s", time.Duration(f.CooldownMS)*time.Millisecond)
	}
	if f.PerHour > 0 {
		s += fmt.Sprintf("; at most %d an hour", f.PerHour)
	}
	return s
}

func (p *printer) snapshot(s cluster.SnapshotDoc) string {
	text := "none"
	if s.ID != "" {
		text = s.ID
		if at, err := time.Parse(time.RFC3339, s.At); err == nil {
			text += ", " + Age(p.Now.Sub(at)) + " old"
		}
		text += ", " + Size(s.Bytes)
	}
	switch {
	case s.ID == "":
	case s.Verified == nil:
		text += ", never verified"
	case s.Verified.OKID == "":
		text += "; no good one is known"
	case s.Verified.OKID == s.ID:
		text += "; verified"
	default:
		text += "; the last verified one is " + Age(p.Now.Sub(s.Verified.OKAt)) + " old"
	}
	switch {
	case s.Work != nil && s.Work.Total > 0:
		text += fmt.Sprintf("; %s is %s one: %s, %d %%", s.Work.Node, s.Work.Doing, s.Work.Stage, s.Work.Done*100/s.Work.Total)
	case s.Work != nil:
		text += fmt.Sprintf("; %s is %s one: %s", s.Work.Node, s.Work.Doing, s.Work.Stage)
	case s.Running:
		text += "; another one is being taken"
	}
	return text
}

// archive says up to when every commit is in the store; nothing while nothing is archived.
func archive(a *cluster.ArchiveDoc) string {
	if a == nil {
		return ""
	}
	text := "nothing yet"
	if a.LagSeconds >= 0 {
		text = fmt.Sprintf("every commit up to %.0f s ago is in the store", a.LagSeconds)
	}
	if a.Gap != "" {
		text += "; it has a gap"
	}
	if a.Error != "" {
		text += "; it does not go on: " + a.Error
	}
	return text
}

// positions says what each node has executed, one line for each different position: the longest in full, the others by
// how much they differ from it.
func positions(nodes []cluster.NodeDoc) []string {
	type group struct {
		set   gtid.Set
		names []string
	}
	var groups []group
	for _, n := range nodes {
		set, err := gtid.Parse(n.GTIDExecuted)
		if err != nil || set.IsEmpty() {
			continue
		}
		i := slices.IndexFunc(groups, func(g group) bool { return g.set.Equal(set) })
		if i < 0 {
			groups = append(groups, group{set: set})
			i = len(groups) - 1
		}
		groups[i].names = append(groups[i].names, n.Name)
	}
	if len(groups) == 0 {
		return nil
	}
	slices.SortStableFunc(groups, func(a, b group) int { return compareCounts(b.set, a.set) })
	top := groups[0]
	out := []string{top.set.String() + " on " + strings.Join(top.names, ", ")}
	for _, g := range groups[1:] {
		line := fmt.Sprintf("%d fewer on %s", top.set.Subtract(g.set).Count(), strings.Join(g.names, ", "))
		if extra := g.set.Subtract(top.set); !extra.IsEmpty() {
			line += ", which alone hold " + extra.String()
			if len(g.names) == 1 {
				line = strings.Replace(line, "alone hold ", "alone holds ", 1)
			}
		}
		out = append(out, line)
	}
	return out
}

func compareCounts(a, b gtid.Set) int {
	x, y := a.Count(), b.Count()
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// Age is a duration in its greatest unit.
func Age(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// Size is a number of bytes in its greatest binary unit.
func Size(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, units := float64(n), []string{"KiB", "MiB", "GiB", "TiB"}
	i := -1
	for f >= 1024 && i < len(units)-1 {
		f /= 1024
		i++
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}
