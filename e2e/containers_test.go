package e2e

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/compose"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// containerFault is something that happens to the primary's container, and its end. It returns when the fault is over.
type containerFault struct {
	name string
	// moves says whether another node must be primary afterwards.
	moves  bool
	inject func(p *compose.Project, primary compose.Container)
}

// outlastsLease is how long a fault is kept up that may lead to a failover: the default lease is 3 s. One that must is kept
// up until it has.
const outlastsLease = 8 * time.Second

// slowLink in bytes per second: about a tenth of what the example application and its replication move.
const slowLink = 32 << 10

func containerFaults() []containerFault {
	others := func(p *compose.Project, c compose.Container) []compose.Container {
		var list []compose.Container
		for _, o := range p.Containers("mysql") {
			if o.ID != c.ID {
				list = append(list, o)
			}
		}
		return list
	}
	cut := func(d compose.Direction, from func(*compose.Project, compose.Container) []compose.Container) func(*compose.Project, compose.Container) {
		return func(p *compose.Project, c compose.Container) {
			p.Cut(c, d, from(p, c)...)
			time.Sleep(outlastsLease) // the fault itself
			p.Heal(c)
		}
	}
	// fromConsul keeps the cut up until it has led to what it must lead to: the requests that are sent on connections that
	// are open already still reach Consul, and count as signs of life there.
	fromConsul := func(d compose.Direction) func(*compose.Project, compose.Container) {
		return func(p *compose.Project, c compose.Container) {
			p.Cut(c, d, p.Containers("consul")...)
			p.WaitMoved(c)
			p.Heal(c)
		}
	}
	return []containerFault{
		{"killed", true, func(p *compose.Project, c compose.Container) {
			p.Docker("kill", c.ID)
			p.WaitMoved(c)
			p.Docker("start", c.ID) // Docker does not restart what its user killed
		}},
		{"stopped", true, func(p *compose.Project, c compose.Container) {
			p.Docker("stop", "-t", "75", c.ID)
			p.WaitMoved(c)
			p.Docker("start", c.ID)
		}},
		{"paused beyond the lease", true, func(p *compose.Project, c compose.Container) {
			p.Docker("pause", c.ID)
			p.WaitMoved(c)
			p.Docker("unpause", c.ID)
		}},
		{"cut off from Consul", true, fromConsul(compose.Both)},
		{"cut off from the replicas", false, cut(compose.Both, others)},
		{"cut off from everything", true, func(p *compose.Project, c compose.Container) {
			network := p.Docker("inspect", "-f", "{{range $k, $v := .NetworkSettings.Networks}}{{$k}}{{end}}", c.ID)
			p.Docker("network", "disconnect", "-f", network, c.ID)
			p.WaitMoved(c)
			p.Docker("network", "connect", network, c.ID)
		}},
		{"hears nothing of Consul", true, fromConsul(compose.In)},
		{"does not reach the replicas", false, cut(compose.Out, others)},
		{"on a lossy link", false, func(p *compose.Project, c compose.Container) {
			p.Lose(c, 10)
			time.Sleep(outlastsLease)
			p.Heal(c)
		}},
		{"on a slow link", false, func(p *compose.Project, c compose.Container) {
			p.Slow(c, slowLink)
			time.Sleep(outlastsLease)
			p.Heal(c)
		}},
	}
}

// TestContainerFaults does each to the primary, with an application writing, and reads everything back.
func TestContainerFaults(t *testing.T) { containersFaulted(t, 1) }

func containersFaulted(t *testing.T, rounds int) []string {
	compose.Need(t)
	var lines []string
	p := compose.New(t)
	p.Up(3)
	p.WaitWhole(3)
	for round := range rounds {
		for _, f := range containerFaults() {
			t.Run(fmt.Sprintf("%s/round-%d", f.name, round+1), func(t *testing.T) {
				p := p.On(t)
				p.WaitWhole(3)
				before := p.WaitWriting()
				began := time.Now()
				f.inject(p, p.Primary())
				p.WaitWhole(3)
				after := p.WaitWriting()
				require.Empty(t, after.Missing, "acknowledged writes that are not there")
				if f.moves {
					require.NotEqual(t, before.Primary, after.Primary)
				}
				for _, c := range p.Containers("mysql") {
					require.LessOrEqual(t, c.Restarts, 1, "a storm of restarts of %s", c.Name)
				}
				lines = append(lines, fmt.Sprintf("%s: whole again after %v, %d acknowledged, 0 missing", f.name, time.Since(began).Round(time.Second), after.Acknowledged))
			})
		}
	}
	return lines
}

// TestContainersScale: up with three from nothing, five, two, three, with the catalog watched all the time.
func TestContainersScale(t *testing.T) {
	compose.Need(t)
	p := compose.New(t)
	p.Up(3)
	p.WaitWhole(3)
	p.WaitWriting()
	containersScaled(t, p)
}

func containersScaled(t *testing.T, p *compose.Project) (lines []string) {
	t.Helper()
	w := p.Watch()
	for _, n := range []int{5, 2, 3} {
		p.Up(n)
		p.WaitWhole(n)
		c := p.WaitWriting()
		require.Empty(t, c.Missing, "at %d containers", n)
		waitFor(t, "the catalog to show one primary and everybody else", func() bool { // a reader that falls behind is not offered for a moment
			primaries, err := p.Services("mysql-primary")
			require.NoError(t, err)
			readers, err := p.Services("mysql")
			require.NoError(t, err)
			return slices.Equal(primaries, []string{c.Primary}) && len(readers) == n-1 && !slices.Contains(readers, c.Primary)
		})
		lines = append(lines, fmt.Sprintf("%d containers: %d acknowledged, 0 missing, longest gap so far %d ms", n, c.Acknowledged, c.LongestGapMS))
		t.Log(lines[len(lines)-1])
	}
	looks, wrong, nobody := w.End()
	require.Empty(t, wrong)
	t.Logf("the catalog was read %d times; without a primary for %v in sum", looks, nobody.Round(time.Millisecond))
	return lines
}

// TestContainersPowerCut stops everything hard and starts it again in any order.
func TestContainersPowerCut(t *testing.T) { containersPowerCut(t, 1) }

func containersPowerCut(t *testing.T, rounds int) []string {
	compose.Need(t)
	var lines []string
	p := compose.New(t)
	p.Up(3)
	p.WaitWhole(3)
	for round := range rounds {
		before := p.WaitWriting()
		var ids []string
		for _, service := range []string{"mysql", "consul", "s3"} {
			for _, c := range p.Containers(service) {
				ids = append(ids, c.ID)
			}
		}
		p.Docker(append([]string{"kill"}, ids...)...)
		rand.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
		began := time.Now()
		for _, id := range ids {
			p.Docker("start", id)
		}
		p.WaitWhole(3)
		after := p.WaitWriting()
		require.Empty(t, after.Missing)
		require.Greater(t, after.Acknowledged, before.Acknowledged)
		lines = append(lines, fmt.Sprintf("round %d: whole again after %v, %d acknowledged, 0 missing", round+1, time.Since(began).Round(time.Second), after.Acknowledged))
	}
	return lines
}

// TestContainersFromSnapshot: `down` without -v forgets every container and every volume but the snapshots', Consul's
// included; `up` begins with what they and the archive hold.
func TestContainersFromSnapshot(t *testing.T) {
	compose.Need(t)
	p := compose.New(t)
	p.Up(3)
	p.WaitWhole(3)
	containersFromSnapshot(t, p)
}

func containersFromSnapshot(t *testing.T, p *compose.Project) {
	t.Helper()
	first := p.Wait("the first snapshot", compose.ReadyLimit, func(c compose.Cluster) bool { return c.Snapshot != nil }).Snapshot.ID
	p.SQL(p.Primary(), "CREATE TABLE app.kept (id INT PRIMARY KEY); INSERT INTO app.kept VALUES (1), (2), (3)")
	p.Docker("exec", p.Primary().ID, "autopilot-mysql", "snapshot", "create")
	d := p.Wait("the snapshot of it", compose.ReadyLimit, func(c compose.Cluster) bool { return c.Snapshot != nil && c.Snapshot.ID != first })
	t.Logf("snapshot %s of %s", d.Snapshot.ID, d.Snapshot.At)
	old := p.Containers("mysql")
	p.Down()
	p.Up(3)
	p.WaitWhole(3)
	for _, c := range p.Containers("mysql") {
		for _, o := range old {
			require.NotEqual(t, o.ID, c.ID)
		}
		require.Equal(t, "3", p.SQL(c, "SELECT COUNT(*) FROM app.kept"), "on %s", c.Name)
	}
}

// TestContainersReplaced: every container is made anew on its own volume, replicas first, the primary last, as a new
// image does it. The node keeps its name and data, nothing is copied, and the application goes on.
func TestContainersReplaced(t *testing.T) { containersReplaced(t, 1) }

func containersReplaced(t *testing.T, rounds int) (lines []string) {
	compose.Need(t)
	p := compose.New(t)
	p.Up(3)
	before := p.WaitWhole(3)
	p.WaitWriting()
	var gaps []float64
	var laps [][]harness.Lap
	for i := range 3 * rounds {
		round := strconv.Itoa(i/3 + 1)
		primary := p.Primary()
		replaced := compose.Container{}
		for _, c := range p.Containers("mysql") {
			if c.ID != primary.ID && p.Label(c, "e2e.replaced") != round {
				replaced = c
			}
		}
		if replaced.ID == "" {
			replaced = primary
		}
		p.Replace(replaced, "e2e.replaced="+round)
		p.WaitWhole(3)
		c := p.WaitWriting()
		require.Empty(t, c.Missing)
		line := fmt.Sprintf("round %s: a replica made anew: %d acknowledged, 0 missing", round, c.Acknowledged)
		if replaced.ID == primary.ID {
			last := p.LastPromotion()
			gaps, laps = append(gaps, last.GapMS), append(laps, last.Laps)
			line = fmt.Sprintf("round %s: the primary made anew: %d acknowledged, 0 missing, %.1f ms without writes on the servers", round, c.Acknowledged, last.GapMS)
		}
		lines = append(lines, fmt.Sprintf("%s; longest gap of the application's writes so far %d ms, its pauses included", line, c.LongestGapMS))
		t.Log(lines[len(lines)-1])
	}
	require.ElementsMatch(t, before.Names(), p.WaitWhole(3).Names(), "the nodes keep their names")
	slices.Sort(gaps)
	lines = append(lines, fmt.Sprintf("without writes on the servers, %d hand-overs: median %.1f ms, longest %.1f ms; where the time went, medians in ms: %s",
		len(gaps), gaps[len(gaps)/2], gaps[len(gaps)-1], harness.LapsLine(laps)))
	t.Log(lines[len(lines)-1])
	return lines
}
