package show

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
)

const uuid = "aaaaaaaa-0000-0000-0000-000000000001"

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func sample() cluster.Doc {
	return cluster.Doc{
		Cluster: "shop", Term: 3, Primary: "db1", AckSet: cluster.AckSetDoc{Members: []string{"db1", "db2"}, Acks: 1},
		Lease: cluster.LeaseDoc{Holder: "db1", ExpiresInMS: 1840}, Snapshot: cluster.SnapshotDoc{ID: "s1", At: "2026-01-02T03:01:05Z", Bytes: 80041936},
		Consul: "consul:8500", Health: cluster.Degraded, Summary: "db1 is primary in term 3; 1 thing is wrong",
		Nodes: []cluster.NodeDoc{
			{Name: "db1", State: "primary", Healthy: true, MySQL: "db1:3306", AckMember: true, GTIDExecuted: uuid + ":1-9", Reason: "open"},
			{Name: "db2", State: "standby", Healthy: true, MySQL: "db2:3306", LagSeconds: 2, AckMember: true, GTIDExecuted: uuid + ":1-7", Reason: "following db1"},
			{Name: "db3", State: "down", MySQL: "db3:3306", LagSeconds: -1, GTIDExecuted: uuid + ":1-9", Reason: "its session ended"},
		},
		Problems: []cluster.Problem{{Node: "db3", What: "db3 is down", Next: "it joins again", Do: "start it"}},
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, Table(&b, sample(), Options{Now: now}))
	require.Equal(t, `shop is degraded: db1 is primary in term 3; 1 thing is wrong

! db3 is down
  next    it joins again
  you can start it

NODE  STATE    HEALTH  LAG  ACK  MYSQL     REASON
db1   primary  ok      -    yes  db1:3306  open
db2   standby  ok      2s   yes  db2:3306  following db1
db3   down     no      -    -    db3:3306  its session ended

ack set   db1, db2; 1 acknowledgement for each write
lease     db1, proved for 1.8 s more when it last said so
position  `+uuid+`:1-9 on db1, db3
          2 fewer on db2
snapshot  s1, 3 min old, 76.3 MiB, never verified
consul    consul:8500
`, b.String())
}

func TestColourAndWidthAreForTerminals(t *testing.T) {
	var plain, colored bytes.Buffer
	require.NoError(t, Table(&plain, sample(), Options{Now: now}))
	require.NotContains(t, plain.String(), "\x1b")
	require.NoError(t, Table(&colored, sample(), Options{Now: now, Color: true, Width: 50}))
	require.Contains(t, colored.String(), "\x1b[1;32mprimary\x1b[0m")
	require.Contains(t, colored.String(), "follow…")
	for line := range strings.Lines(withoutCodes(colored.String())) {
		if strings.HasPrefix(line, "db") {
			require.LessOrEqual(t, len([]rune(strings.TrimSpace(line))), 50)
		}
	}
}

// withoutCodes removes the escape sequences.
func withoutCodes(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == 0x1b {
			i += strings.IndexByte(s[i:], 'm')
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// TestRecordsCannotMoveTheCursor: what is in Consul was written by others.
func TestRecordsCannotMoveTheCursor(t *testing.T) {
	d := sample()
	d.Nodes[0].Reason, d.Summary, d.Problems[0].What = "a\x1b[2Jb\nc", "x\ry\u009bz", "\x07bell"
	var b bytes.Buffer
	require.NoError(t, Table(&b, d, Options{Now: now}))
	require.Contains(t, b.String(), "a[2Jb c\n")
	for _, bad := range []string{"\x1b", "\r", "\a", "\u009b"} {
		require.NotContains(t, b.String(), bad)
	}
}

func TestPositionsThatContradict(t *testing.T) {
	nodes := []cluster.NodeDoc{
		{Name: "a", GTIDExecuted: uuid + ":1-5"}, {Name: "b", GTIDExecuted: uuid + ":1-4,bbbbbbbb-0000-0000-0000-000000000001:1"},
		{Name: "c"}, {Name: "d", GTIDExecuted: "garbage"}, {Name: "e", GTIDExecuted: uuid + ":1-6"},
	}
	require.Equal(t, []string{uuid + ":1-6 on e", "1 fewer on a", "2 fewer on b, which alone holds bbbbbbbb-0000-0000-0000-000000000001:1"}, positions(nodes))
	require.Empty(t, positions(nil))
}

func TestScreen(t *testing.T) {
	frames := func(s *Screen) []string {
		var out []string
		b := &bytes.Buffer{}
		s.W, s.Now = b, func() time.Time { return now }
		d := sample()
		steps := []func() error{
			func() error { return s.Show(d) },
			func() error { d.Lease.ExpiresInMS, d.Nodes[1].LagSeconds = 900, 5; return s.Show(d) }, // only counts on
			func() error { d.Primary, d.Health = "", cluster.Broken; return s.Show(d) },
			func() error { return s.Trouble(d, errors.New("no Consul")) },
			func() error { return s.Trouble(d, errors.New("no Consul")) },
			func() error { return s.Show(d) },
		}
		for _, step := range steps {
			b.Reset()
			require.NoError(t, step())
			out = append(out, b.String())
		}
		return out
	}
	piped := frames(&Screen{})
	require.True(t, strings.HasPrefix(piped[0], "shop is degraded"))
	require.Empty(t, piped[1])
	require.True(t, strings.HasPrefix(piped[2], "\n03:04:05\nshop is down"), piped[2])
	require.Equal(t, "\n03:04:05\ncannot tell at the moment: no Consul\n", piped[3])
	require.Equal(t, piped[3], piped[4], "silence would look like a cluster that does not change")
	require.True(t, strings.HasPrefix(piped[5], "\n03:04:05\nshop is down"), "it is news that it can be told again")

	drawn := frames(&Screen{Terminal: true})
	require.True(t, strings.HasPrefix(drawn[0], "\x1b[2J\x1b[H"))
	require.Contains(t, drawn[1], "5s", "a terminal is drawn anew")
	require.True(t, strings.HasSuffix(drawn[3], "\x1b[J"))

	documents := frames(&Screen{JSON: true, Terminal: true})
	require.Empty(t, documents[1])
	for i, first := range map[int]string{0: "db3 is down", 2: "db3 is down", 3: "this command cannot read Consul; what follows is as it was when it last could: no Consul",
		4: "this command cannot read Consul; what follows is as it was when it last could: no Consul", 5: "db3 is down"} {
		require.Equal(t, 1, strings.Count(documents[i], "\n"), "one document for each line")
		var d cluster.Doc
		require.NoError(t, json.Unmarshal([]byte(documents[i]), &d))
		require.Equal(t, first, d.Problems[0].What)
		require.Equal(t, "shop", d.Cluster)
	}
}

func TestUnits(t *testing.T) {
	for d, want := range map[time.Duration]string{-time.Second: "0 s", 119 * time.Second: "119 s", 3 * time.Minute: "3 min", 3 * time.Hour: "3 h", 72 * time.Hour: "3 days"} {
		require.Equal(t, want, Age(d))
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 5 << 40: "5.0 TiB", 3 << 50: "3072.0 TiB"} {
		require.Equal(t, want, Size(n))
	}
	require.False(t, IsTerminal(&bytes.Buffer{}))
	f, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer f.Close()
	require.False(t, IsTerminal(f), "a character device is not yet a terminal")
	require.Zero(t, Width(f))
}

func TestSnapshotLine(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	p := &printer{Options: Options{Now: now}}
	doc := cluster.SnapshotDoc{ID: "s1", At: "2026-01-02T03:00:05Z", Bytes: 1 << 20}
	for want, change := range map[string]func(*cluster.SnapshotDoc){
		"none":                   func(d *cluster.SnapshotDoc) { *d = cluster.SnapshotDoc{} },
		", never verified":       func(*cluster.SnapshotDoc) {},
		"MiB; verified":          func(d *cluster.SnapshotDoc) { d.Verified = &cluster.SnapshotVerified{OKID: "s1"} },
		"; no good one is known": func(d *cluster.SnapshotDoc) { d.Verified = &cluster.SnapshotVerified{ID: "s1"} },
		"; the last verified one is 5 h old": func(d *cluster.SnapshotDoc) {
			d.Verified = &cluster.SnapshotVerified{OKID: "s0", OKAt: now.Add(-5 * time.Hour)}
		},
		"; db2 is taking one: storing, 25 %": func(d *cluster.SnapshotDoc) {
			d.Running, d.Work = true, &cluster.SnapshotWork{Node: "db2", Doing: "taking", Stage: "storing", Done: 1, Total: 4}
		},
		"; another one is being taken": func(d *cluster.SnapshotDoc) { d.Running = true },
	} {
		d := doc
		change(&d)
		require.Contains(t, p.snapshot(d), want)
	}
}
