package mysql

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// TestLogsHolding: what was only received is found in the relay logs, what was executed in the binary logs, and what is in
// no file any more is named.
func TestLogsHolding(t *testing.T) {
	p, f := opsPair(t, false)
	ctx := procContext(t)
	uuid := p.st().UUID
	set := func(from, to int) gtid.Set { return gtid.MustParse(fmt.Sprintf("%s:%d-%d", uuid, from, to)) }
	insert := func(i int) { p.exec(fmt.Sprintf("INSERT INTO t.t VALUES (%d, 'x')", i)) }
	for i := range 4 {
		insert(i)
		if i == 1 {
			p.exec("FLUSH BINARY LOGS")
		}
	}
	f.until("executed", func(st Status) bool { return st.Executed.Contains(set(1, 4)) })
	f.exec("STOP REPLICA SQL_THREAD")
	insert(5)
	p.exec("FLUSH BINARY LOGS") // a new relay log as well
	insert(6)
	f.until("received", func(st Status) bool { return st.Position().Contains(set(1, 6)) })

	base := func(l Logs) string {
		var names []string
		for _, path := range l.Files {
			require.FileExists(t, path)
			name, _, _ := strings.Cut(filepath.Base(path), ".")
			names = append(names, name)
		}
		return strings.Join(names, " ")
	}
	l, err := f.LogsHolding(ctx, set(4, 6))
	require.NoError(t, err)
	require.Empty(t, l.Missing)
	require.Contains(t, base(l), "binlog relay", "one is executed, two are only received")
	last, err := f.LogsHolding(ctx, set(6, 6))
	require.NoError(t, err)
	require.Equal(t, "relay", base(last))
	require.Less(t, len(last.Files), len(l.Files)-1, "the file before the last is not among them")
	events, err := f.slow.query(ctx, "look", "SHOW RELAYLOG EVENTS IN ?", filepath.Base(last.Files[0]))
	require.NoError(t, err)
	require.Contains(t, fmt.Sprint(events), uuid+":6", "the file really holds it")

	f.exec("FLUSH BINARY LOGS")
	f.exec("PURGE BINARY LOGS TO '" + f.st().Binlog.File + "'")
	l, err = f.LogsHolding(ctx, set(3, 6))
	require.NoError(t, err)
	require.Equal(t, set(3, 4).String(), l.Missing.String())
	require.NotContains(t, base(l), "binlog")
}

// TestHistoryOfAnotherServer: an address that another server uses now is not taken for the one that was meant.
func TestHistoryOfAnotherServer(t *testing.T) {
	n := opsStart(t, "n")
	n.open()
	ctx, addr := procContext(t), procAddr(n.cfg)
	_, _, err := HistoryOf(ctx, addr, procCreds, n.st().UUID)
	require.NoError(t, err)
	_, _, err = HistoryOf(ctx, addr, procCreds, "00000000-0000-0000-0000-00000000000a")
	require.ErrorIs(t, err, ErrOtherServer)
}
