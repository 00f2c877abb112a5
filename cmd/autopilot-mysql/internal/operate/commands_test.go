package operate

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// forced is a forced failover to a node whose operator is asked.
func forced(node string, confirm func(string) error) Ask {
	return Ask{What: "fail over", Confirm: confirm, Request: roles.Request{Kind: roles.RequestFailover, Node: node, Timeout: time.Minute,
		Options: roles.RequestOptions{Force: true, AcceptDataLoss: true}}}
}

// TestWhatLosesNothingIsNotConfirmed: and as nobody has agreed to a loss, force is not used either, should things change.
func TestWhatLosesNothingIsNotConfirmed(t *testing.T) {
	w := newWorld(t)
	w.kill("db1")
	w.seal("db2", uuid+":1-9")
	w.seal("db3", uuid+":1-9")
	winner := roles.Elect("", w.view(), 1).Winner.Name()
	got, err := w.desk("ann").Do(t.Context(), forced(winner, func(s string) error { return errors.New("asked: " + s) }))
	require.NoError(t, err)
	require.Zero(t, got.Request.Options)
	require.Zero(t, w.extra().Requests[0].Options)
}

func TestWhatMayBeLostIsConfirmed(t *testing.T) {
	for name, seals := range map[string]map[string]string{
		"known":   {"db2": uuid + ":1-7", "db3": uuid + ":1-9"},
		"unknown": {"db2": uuid + ":1-9"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.kill("db1")
			w.kill("db3")
			for node, pos := range seals {
				w.seal(node, pos)
			}
			asked := ""
			_, err := w.desk("ann").Do(t.Context(), forced("db2", func(s string) error { asked = s; return &cli.Error{Code: cli.Refused} }))
			require.Equal(t, cli.Refused, codeOf(err))
			require.Contains(t, asked, "this is lost: ")
			require.Empty(t, w.extra().Requests)

			a := forced("db2", func(string) error { return nil })
			a.Wait = false
			got, err := w.desk("ann").Do(t.Context(), a)
			require.NoError(t, err)
			require.True(t, got.Request.Options.Force)
		})
	}
}

// TestAClusterThatIsNotThere is told by every command that needs one, with those that are.
func TestAClusterThatIsNotThere(t *testing.T) {
	w := newWorld(t)
	books := cluster.KeysOf("books")
	w.put(books.Cluster(), roles.Cluster{ID: "b"})
	w.put(cluster.KeysOf("gone").HistoryKey(cluster.HistoryEntry{At: time.Unix(1, 0)}), cluster.HistoryEntry{})
	d := w.desk("ann")
	d.Cluster = "shpo"
	for name, do := range map[string]func() error{
		"switch over": func() error {
			_, err := d.Do(t.Context(), Ask{What: "switch over", Request: roles.Request{Kind: roles.RequestSwitchover}})
			return err
		},
		"pause":                     func() error { _, _, err := d.Pause(t.Context(), ""); return err },
		"resume":                    func() error { _, err := d.Resume(t.Context()); return err },
		"pause node":                func() error { _, _, err := d.PauseNode(t.Context(), Maintenance{Node: "db1"}); return err },
		"resume node":               func() error { _, err := d.ResumeNode(t.Context(), "db1"); return err },
		"show history":              func() error { _, err := d.History(t.Context(), 0); return err },
		"show request":              func() error { _, err := d.Show(t.Context(), "x"); return err },
		"set cluster-wide settings": func() error { _, err := d.Set(t.Context(), []string{"acks=2"}); return err },
		"take snapshot":             func() error { _, _, err := d.TakeSnapshot(t.Context(), ""); return err },
	} {
		require.EqualError(t, do(), name+`: Consul knows no cluster "shpo"; name it with --cluster; there are: books, shop`)
	}
}

// TestARequestEndsWithTheSameWordsWhoeverTellsIt: the record while it is there, and the history later.
func TestARequestEndsWithTheSameWordsWhoeverTellsIt(t *testing.T) {
	for _, state := range []roles.RequestState{roles.RequestRefused, roles.RequestFailed, roles.RequestUnknown} {
		w := newWorld(t)
		d := w.desk("ann")
		_, err := d.submit(t.Context(), "switch over", roles.Request{Kind: roles.RequestSwitchover, Node: "db2", Timeout: time.Minute})
		require.NoError(t, err)
		r := w.move(w.await(roles.RequestOpen), func(r *roles.Request) { r.State, r.Outcome, r.Guard = state, "the end", "some-guard" })
		_, live := d.Show(t.Context(), r.ID)
		require.ErrorContains(t, live, "switch over (db2): ")
		e := cluster.RequestEntry("db1", 3, r)
		e.At = time.Unix(1, 0)
		w.put(w.keys.HistoryKey(e), e)
		_, past := d.remembered(t.Context(), "x", r.ID)
		require.EqualError(t, past, live.Error())
		require.Equal(t, codeOf(live), codeOf(past))
	}
}
