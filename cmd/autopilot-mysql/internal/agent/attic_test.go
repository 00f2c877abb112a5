package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

func aDifference(n int) difference {
	return difference{Node: "n1", Incarnation: roles.NewInc("n1", n, "u"), GTIDs: gtid.MustParse("00000000-0000-0000-0000-00000000000a:1-3"), At: time.Now()}
}

func logFiles(t *testing.T) []string {
	dir := t.TempDir()
	var out []string
	for _, name := range []string{"binlog.000001", "relay.000002"} {
		out = append(out, filepath.Join(dir, name))
		require.NoError(t, os.WriteFile(out[len(out)-1], []byte("events of "+name), 0o600))
	}
	return out
}

// TestKeptUntilTheStoreHasIt: the store is down first; nothing is lost by that, and nothing stays behind afterwards.
func TestKeptUntilTheStoreHasIt(t *testing.T) {
	dir, where := t.TempDir(), filepath.Join(t.TempDir(), "store")
	require.NoError(t, os.Mkdir(where, 0o750))
	store, err := snapshot.OpenStore("file://"+where, snapshot.StoreOptions{})
	require.NoError(t, err)
	k := newAttic(dir, "shop", store, nil, slog.New(slog.DiscardHandler))
	d := aDifference(1)
	require.NoError(t, k.keep(t.Context(), d, logFiles(t), func(int, int) {}))
	require.NoError(t, k.keep(t.Context(), d, nil, func(int, int) {}), "keeping it again changes nothing")
	require.FileExists(t, filepath.Join(k.path(d), "relay.000002"))

	require.NoError(t, os.Rename(where, where+".away"))
	require.NoError(t, os.WriteFile(where, nil, 0o600))
	require.Error(t, k.work(t.Context()))
	require.Contains(t, k.say(), "n1.1.u")
	require.FileExists(t, filepath.Join(k.path(d), "binlog.000001"))
	require.NoError(t, os.Remove(where))
	require.NoError(t, os.Rename(where+".away", where))
	require.NoError(t, k.work(t.Context()))
	require.Empty(t, k.say())
	require.NoDirExists(t, k.path(d))
	found, err := filepath.Glob(filepath.Join(where, "shop", "archive", "n1.1.u.*"))
	require.NoError(t, err)
	require.Len(t, found, 2, "the logs and their record")
}

// TestKeptWithoutAStore: it stays, and only so much of it.
func TestKeptWithoutAStore(t *testing.T) {
	k := newAttic(t.TempDir(), "shop", nil, nil, slog.New(slog.DiscardHandler))
	for n := range keptMost + 2 {
		d := aDifference(n)
		require.NoError(t, k.keep(t.Context(), d, logFiles(t), func(int, int) {}))
		old := time.Now().Add(time.Duration(n-100) * time.Hour)
		require.NoError(t, os.Chtimes(k.path(d), old, old))
	}
	require.NoError(t, k.work(t.Context()))
	names, err := k.list()
	require.NoError(t, err)
	require.Len(t, names, keptMost)
	require.Equal(t, "n1.2.u", names[0], "the oldest two are gone")
	require.Contains(t, k.say(), "there is no store")
}

// TestKeptIsCompleteOrNotThere: a file that cannot be kept leaves nothing behind that could be taken for all of it.
func TestKeptIsCompleteOrNotThere(t *testing.T) {
	k := newAttic(t.TempDir(), "shop", nil, nil, slog.New(slog.DiscardHandler))
	err := k.keep(t.Context(), aDifference(1), append(logFiles(t), "/nowhere/binlog.000009"), func(int, int) {})
	require.ErrorIs(t, err, os.ErrNotExist)
	names, err := k.list()
	require.NoError(t, errors.Join(err))
	require.Empty(t, names)
}

// TestSteadiness: a receiver that loses its connection again and again is not healthy in between; an ordinary start is at once.
func TestSteadiness(t *testing.T) {
	var s steadiness
	now, source := time.Hour, "p1:3306"
	look := func(state roles.ThreadState, id string, after time.Duration) bool {
		now += after
		s.look(now, roles.MySQL{Ready: true, Source: source, Receiver: state, ReceiverID: id})
		return s.ok()
	}
	require.True(t, look(roles.On, "r1", 0))
	s.look(now+time.Second, roles.MySQL{Running: true})
	require.True(t, look(roles.On, "r1", 2*time.Second), "a server that did not answer has not lost its connection")
	s.look(now, roles.MySQL{Running: true})
	require.True(t, look(roles.On, "r1", 0))
	look(roles.Connecting, "", 10*time.Second)
	require.True(t, look(roles.On, "r1", time.Second), "one break after a long time is nothing")
	for i := range 5 {
		look(roles.Connecting, "", 250*time.Millisecond)
		require.False(t, look(roles.On, fmt.Sprint("r", i), time.Second), "it has just lost it")
	}
	require.False(t, look(roles.On, "r4", 2*time.Second))
	require.True(t, look(roles.On, "r4", 2*time.Second), "it holds")
	s.planned()
	look(roles.Off, "", 100*time.Millisecond)
	require.True(t, look(roles.On, "r9", 100*time.Millisecond), "this node restarted it itself")

	look(roles.Connecting, "", 100*time.Millisecond)
	require.False(t, look(roles.On, "r10", 100*time.Millisecond), "it has just lost it")
	look(roles.Connecting, "", 100*time.Millisecond)
	source = "p2:3306"
	require.True(t, look(roles.On, "r11", 100*time.Millisecond), "the old primary is dead, and this one is another")
	look(roles.Connecting, "", 100*time.Millisecond)
	require.False(t, look(roles.On, "r12", 100*time.Millisecond), "it has lost that as well")
}
