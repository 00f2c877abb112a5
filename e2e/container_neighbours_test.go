package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/compose"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// containerNeighbour is somebody who shares Consul, the network, the store or even a volume with the cluster, and should not.
type containerNeighbour struct {
	name string
	// meet does it, and sees that it is refused or named.
	meet func(t *testing.T, p *compose.Project)
}

func containerNeighbours() []containerNeighbour {
	return []containerNeighbour{
		{"another cluster under the same service names", sameServiceNames},
		{"a volume of another cluster of the same name", strangersVolume},
		{"a second node of the primary's name", func(t *testing.T, p *compose.Project) { sameNodeName(t, p, "primary") }},
		{"a second node of a standby's name", func(t *testing.T, p *compose.Project) { sameNodeName(t, p, "standby") }},
		{"a second container on the primary's volume", sameVolume},
		{"a stranger among the readers", strangeReader},
		{"garbage in the keys", garbageInKeys},
	}
}

// TestContainerNeighbours: with an application writing, each neighbour is refused or named in one clear line, nothing of
// it mixes with the cluster, and the cluster goes on as it was: same primary, same term, no container restarted, one
// primary in the catalog at any time, no acknowledged write lost.
func TestContainerNeighbours(t *testing.T) {
	compose.Need(t)
	p := compose.New(t, "LEASE="+patientLease.String())
	p.Up(3)
	p.WaitWhole(3)
	p.WaitWriting()
	w := p.Watch()
	for _, n := range containerNeighbours() {
		t.Run(n.name, func(t *testing.T) {
			p := p.On(t)
			before, wrote := p.WaitWhole(3), p.WaitWriting()
			n.meet(t, p)
			after, writes := p.WaitWhole(3), p.WaitWriting()
			require.Empty(t, writes.Missing, "acknowledged writes that are not there")
			require.Greater(t, writes.Acknowledged, wrote.Acknowledged)
			require.Equal(t, []any{before.Primary, before.Term}, []any{after.Primary, after.Term})
			require.ElementsMatch(t, before.Names(), after.Names(), "nobody else is in the cluster")
			for _, c := range p.Containers("mysql") {
				require.Zerof(t, c.Restarts, "restarts of %s", c.Name)
			}
			t.Logf("%d acknowledged meanwhile, 0 missing", writes.Acknowledged-wrote.Acknowledged)
		})
	}
	looks, wrong, nobody := w.End()
	require.Empty(t, wrong)
	t.Logf("the catalog was read %d times; without a primary for %v in sum", looks, nobody.Round(time.Millisecond))
}

// refusedGuest waits until a container has ended by a refusal, whose line says all of that.
func refusedGuest(t *testing.T, p *compose.Project, c compose.Container, says ...string) {
	t.Helper()
	code, said := p.Ended(c, compose.ReadyLimit)
	require.Equal(t, 3, code, said)
	last := harness.Tail(said, 1)
	for _, words := range says {
		require.Contains(t, last, words)
	}
	t.Logf("refused: %s", last)
}

// sameServiceNames: the second cluster is not created; under a service name of its own it lives beside the first one, on
// the same Consul and in the same place of the same store.
func sameServiceNames(t *testing.T, p *compose.Project) {
	primary, volume, node := p.WaitWhole(3).Primary, p.Volume(), []string{"AUTOPILOT_CLUSTER=other", "AUTOPILOT_NAME=other-1"}
	refusedGuest(t, p, p.Database(volume, node...), "create cluster other", "service mysql-primary", primary, `cluster "main"`, "--service", "nothing was changed")
	require.NotContains(t, p.Keys("mysql/other/"), "mysql/other/cluster", "it was not created")

	other := p.Database(volume, append(node, "AUTOPILOT_SERVICE=other")...)
	p.Alone(other)
	require.Empty(t, p.SQL(other, "SHOW TABLES IN app"), "it begins empty, and not with the other one's snapshot")
	waitFor(t, "it to be found under its own name", func() bool {
		list, err := p.Services("other-primary")
		return err == nil && len(list) == 1 && list[0] == other.IP+":3306"
	})
	p.SQL(other, "CREATE TABLE app.theirs (id INT PRIMARY KEY)")
	for _, c := range p.Containers("mysql") {
		require.Empty(t, p.SQL(c, "SHOW TABLES IN app LIKE 'theirs'"))
		require.NotContains(t, p.Status(c), other.IP)
	}
	p.Docker("stop", "-t", "75", other.ID)
	p.Consul(http.MethodDelete, "/v1/kv/mysql/other/?recurse", nil)
}

// strangersVolume: a node whose data is of a cluster that has the same name on another Consul is no member here, and its
// data is as it was.
func strangersVolume(t *testing.T, p *compose.Project) {
	far := p.Guest("autopilot-mysql-consul:local", "", nil, "agent", "-server", "-bootstrap-expect", "1", "-client", "0.0.0.0", "-data-dir", "/consul/data")
	volume := p.Volume()
	there := []string{"AUTOPILOT_CONSUL=" + far.IP + ":8500", "AUTOPILOT_STORE=file:///tmp/store"}
	theirs := p.Database(volume, there...)
	p.Alone(theirs)
	p.SQL(theirs, "CREATE TABLE app.theirs (id INT PRIMARY KEY); INSERT INTO app.theirs VALUES (7)")
	p.Docker("stop", "-t", "75", theirs.ID)

	refusedGuest(t, p, p.Database(volume), "data directory /var/lib/mysql", "belongs to another cluster of the name main", "identity", "--cluster", "--datadir", "nothing was changed")
	for _, c := range p.Containers("mysql") {
		require.Empty(t, p.SQL(c, "SHOW TABLES IN app LIKE 'theirs'"))
	}
	theirs = p.Database(volume, there...)
	p.Alone(theirs)
	require.Equal(t, "7", p.SQL(theirs, "SELECT id FROM app.theirs"))
	require.Empty(t, p.SQL(theirs, "SHOW TABLES IN app LIKE 'example_writes'"))
}

// sameNodeName: the one that has the name keeps it.
func sameNodeName(t *testing.T, p *compose.Project, state string) {
	for _, n := range p.WaitWhole(3).Nodes {
		if n.State == state {
			refusedGuest(t, p, p.Database("", "AUTOPILOT_NAME="+n.Name), "node "+n.Name, n.MySQL, "is alive under this name in cluster main", "--name", "nothing was changed")
			return
		}
	}
}

// sameVolume: whoever has the volume keeps it.
func sameVolume(t *testing.T, p *compose.Project) {
	refusedGuest(t, p, p.Database(p.VolumeOf(p.Primary())), "data directory /var/lib/mysql", "another process uses it", "--datadir")
}

// strangeReader: a server that is none of the program's, registered as a reader: the program cannot take it away, but
// says so for as long as it is there.
func strangeReader(t *testing.T, p *compose.Project) {
	p.Consul(http.MethodPut, "/v1/agent/service/register", []byte(`{"ID": "legacy", "Name": "mysql", "Address": "192.0.2.7", "Port": 3306}`))
	primary := p.Primary()
	named := "service mysql in Consul also leads to legacy at 192.0.2.7:3306, which is no node of this program"
	waitFor(t, "the status to name it", func() bool { return strings.Contains(p.Status(primary), named) })
	p.Consul(http.MethodPut, "/v1/agent/service/deregister/legacy", nil)
	waitFor(t, "the status to forget it", func() bool { return !strings.Contains(p.Status(primary), "legacy") })
}

// garbageInKeys: what the nodes know they write anew; what nobody knows is named until somebody deletes it, and believed
// by nobody.
func garbageInKeys(t *testing.T, p *compose.Project) {
	const prefix, nonsense = "mysql/main/", "\x00\xff { somebody was here"
	const stranger, settings, unknown = prefix + "nodes/stranger~0~none", prefix + "settings", prefix + "no/such/key"
	var spoilt []string
	was := p.Keys(prefix)
	for key := range was {
		name := strings.TrimPrefix(key, prefix)
		if name == "leader" || name == "cluster" || name == "sync" || strings.HasPrefix(name, "nodes/") {
			spoilt = append(spoilt, key)
		}
	}
	require.GreaterOrEqual(t, len(spoilt), 6)
	for _, key := range append([]string{stranger, settings, unknown}, spoilt...) {
		p.Consul(http.MethodPut, "/v1/kv/"+key, []byte(nonsense))
	}
	waitFor(t, "the records to be written anew", func() bool {
		keys := p.Keys(prefix)
		for _, key := range spoilt {
			if keys[key] == nonsense {
				return false
			}
		}
		return true
	})
	primary := p.Primary()
	for _, says := range []string{"Consul's record nodes/stranger~0~none of the cluster cannot be read", "start stranger", "delete that key", "Consul key mysql/main/settings: it is not the JSON it should be"} {
		waitFor(t, "the status to say: "+says, func() bool { return strings.Contains(p.Status(primary), says) })
	}
	p.WaitWriting()
	for _, key := range []string{stranger, settings, unknown} {
		require.Equal(t, nonsense, p.Keys(prefix)[key], "it is nobody's to repair")
		p.Consul(http.MethodDelete, "/v1/kv/"+key, nil)
	}
	p.Consul(http.MethodPut, "/v1/kv/"+settings, []byte(was[settings]))
	waitFor(t, "the status to forget it", func() bool {
		said := p.Status(primary)
		return !strings.Contains(said, "stranger") && !strings.Contains(said, "cannot be read") && !strings.Contains(said, "it is not the JSON")
	})
}
