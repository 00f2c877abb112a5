package cluster

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestArchiveProblems(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	const gap = "3e11fa47-71ca-11e1-9e33-c80aa9429562:5-7"
	archive := func(late time.Duration, edit func(*LastArchive)) Extra {
		a := &LastArchive{Interval: 10 * time.Second, CompleteAt: now.Add(-late)}
		edit(a)
		return Extra{Archive: a}
	}
	none := func(*LastArchive) {}
	for name, c := range map[string]struct {
		x    Extra
		want []string // beginnings of what is said
	}{
		"nothing archived":   {Extra{}, nil},
		"in time":            {archive(time.Minute, none), nil},
		"late":               {archive(61*time.Second, none), []string{"the archive of binary logs is 1m1s behind; what is newer is lost if every node is"}},
		"late, and why":      {archive(time.Hour, func(a *LastArchive) { a.Error = "no route" }), []string{"the archive of binary logs is 1h0m0s behind; what is newer is lost if every node is: no route"}},
		"late for its own":   {archive(5*time.Minute, func(a *LastArchive) { a.Interval = time.Minute }), nil},
		"never yet":          {Extra{Archive: &LastArchive{Interval: time.Second, Error: "no route"}}, []string{"binary logs are not archived: no route"}},
		"about to be purged": {archive(time.Hour, func(a *LastArchive) { a.AtRisk = true }), []string{"the archive of binary logs is 1h0m0s behind; what is newer is lost if every node is; the binary log it has to read next is the oldest one"}},
		"a gap":              {archive(0, func(a *LastArchive) { a.Gap = gap }), []string{"the archive of binary logs has a gap: " + gap}},
	} {
		got := archiveProblems(c.x, now)
		require.Len(t, got, len(c.want), name)
		for i, w := range c.want {
			require.Contains(t, got[i].What, w, name)
			require.NotEmpty(t, got[i].Do, name)
		}
	}
	x := archive(0, func(a *LastArchive) { a.Gap = gap })
	x.Snapshot = &LastSnapshot{GTID: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-6"}
	require.Len(t, archiveProblems(x, now), 1, "it holds only a part of what is missing")
	x.Snapshot.GTID = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-9"
	require.Empty(t, archiveProblems(x, now), "a snapshot leads beyond it")
	require.Nil(t, archiveDoc(nil, now))
	require.InDelta(t, 61, archiveDoc(archive(61*time.Second, none).Archive, now).LagSeconds, 0.01)
}
