package operate

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

func TestARequestIsWatchedUntilItsOutcome(t *testing.T) {
	for state, code := range map[roles.RequestState]int{
		roles.RequestDone: cli.Done, roles.RequestRefused: cli.Refused, roles.RequestFailed: cli.Failed, roles.RequestUnknown: cli.Unknown,
	} {
		t.Run(string(state), func(t *testing.T) {
			w := newWorld(t)
			out := w.do(t.Context(), "ann@desk", ask(roles.RequestRebuild, "db2"))
			r := w.await(roles.RequestOpen)
			require.Equal(t, "ann@desk", r.By)
			require.Equal(t, time.Minute, r.Timeout)
			r = w.move(r, func(r *roles.Request) { r.State, r.Progress = roles.RequestRunning, "half way" })
			require.Eventually(t, func() bool { return w.heard("half way") }, 30*time.Second, 5*time.Millisecond)
			w.move(r, func(r *roles.Request) { r.State, r.Outcome, r.Guard = state, "the end", "some-guard" })
			got := <-out
			require.Equal(t, code, codeOf(got.err), "%v", got.err)
			require.Equal(t, state, got.a.Request.State)
			require.Contains(t, got.a.Said, "the end")
			if code == cli.Refused {
				require.EqualError(t, got.err, "rebuild (db2): refused by guard some-guard: the end")
			}

			again, err := w.desk("bob").Show(t.Context(), r.ID) // a second look tells the same
			require.Equal(t, code, codeOf(err))
			require.Equal(t, got.a.Said, again.Said)

			r.State, r.Outcome, r.Guard = state, "the end", "some-guard"
			e := cluster.RequestEntry("db1", 3, r)
			e.At = time.Unix(1, 0)
			ok, why, err := w.Txn(t.Context(), w.keys.WriteHistory(e), election.Delete(w.keys.Request(r.ID)))
			require.NoError(t, err)
			require.True(t, ok, why)
			again, err = w.desk("bob").Show(t.Context(), r.ID) // and so does one when only the history knows
			require.Equal(t, code, codeOf(err))
			require.Equal(t, state, again.Request.State)
			require.Equal(t, r.Kind, again.Request.Kind)
			require.Equal(t, "some-guard", again.Request.Guard)
			require.Contains(t, again.Said, "the end")
		})
	}
}

// lockstep lets the first transactions happen only when all operators have looked and found nothing in their way.
type lockstep struct {
	*election.Memory
	all  sync.WaitGroup
	left atomic.Int32
}

func (l *lockstep) Txn(ctx context.Context, ops ...election.Op) (bool, string, error) {
	if l.left.Add(-1) >= 0 {
		l.all.Done()
		l.all.Wait()
	}
	return l.Memory.Txn(ctx, ops...)
}

func TestOfTwoOperatorsAtOnceOneIsRefused(t *testing.T) {
	w := newWorld(t)
	const many = 8
	together := &lockstep{Memory: w.Memory}
	together.all.Add(many)
	together.left.Store(many)
	outs := make([]<-chan reply, many)
	for i := range outs {
		a := ask(roles.RequestSwitchover, []string{"db2", "db3"}[i%2])
		a.Wait = false
		out := make(chan reply, 1)
		outs[i] = out
		go func() {
			d := w.desk("operator")
			d.Store = together
			answer, err := d.Do(t.Context(), a)
			out <- reply{answer, err}
		}()
	}
	done := 0
	for _, out := range outs {
		got := <-out
		if got.err == nil {
			done++
			continue
		}
		require.Equal(t, cli.Refused, codeOf(got.err), "%v", got.err)
		require.ErrorContains(t, got.err, "guard another-request: operator asked for a switchover to db")
		require.ErrorContains(t, got.err, "autopilot-mysql history --request ")
	}
	require.Equal(t, 1, done)
	require.Len(t, w.extra().Requests, 1)
}

func TestWhichRequestsStandInEachOthersWay(t *testing.T) {
	for _, c := range []struct {
		first, second roles.RequestKind
		a, b          string
		conflict      bool
	}{
		{roles.RequestSwitchover, roles.RequestFailover, "db2", "db3", true},
		{roles.RequestSwitchover, roles.RequestRebuild, "db2", "db2", true},
		{roles.RequestSwitchover, roles.RequestRebuild, "", "db2", false},
		{roles.RequestRebuild, roles.RequestRebuild, "db2", "db3", false},
		{roles.RequestRebuild, roles.RequestRebuild, "db2", "db2", true},
		{roles.RequestRebuild, roles.RequestRemove, "db2", "db2", true},
		{roles.RequestRebuild, roles.RequestRemove, "dead", "dead", false}, // it died on the way
	} {
		v := roles.View{Nodes: map[roles.Inc]roles.Node{}}
		for _, n := range []string{"db2", "db3"} {
			v.Nodes[inc(n)] = roles.Node{Session: "s"}
		}
		got := conflict(roles.Request{Kind: c.second, Node: c.b}, roles.Request{Kind: c.first, Node: c.a}, v)
		require.Equal(t, c.conflict, got, "%+v", c)
	}
}

func TestRefusalsAndBadInputWriteNothing(t *testing.T) {
	lossy := roles.RequestOptions{Force: true, AcceptDataLoss: true}
	for name, c := range map[string]struct {
		a    Ask
		edit func(*world)
		code int
		says string
	}{
		"no such node":         {ask(roles.RequestRebuild, "db9"), nil, cli.Usage, "there is no node db9; there are: db1, db2, db3"},
		"guarded":              {ask(roles.RequestRebuild, "db1"), nil, cli.Refused, "refused by guard primary: "},
		"no such cluster":      {ask(roles.RequestRebuild, "db1"), func(w *world) { w.keys = cluster.KeysOf("other") }, cli.Failed, ""},
		"nothing to fail over": {ask(roles.RequestFailover, ""), nil, cli.Refused, "guard primary-lives"},
		"not confirmed": {Ask{What: "fail over", Request: roles.Request{Kind: roles.RequestFailover, Node: "db2", Options: lossy, Timeout: time.Minute},
			Confirm: func(s string) error { return errors.New("no: " + s) }}, func(w *world) {
			w.kill("db1")
			w.kill("db3")
			w.seal("db2", uuid+":1-7")
			w.seal("db3", uuid+":1-9")
		}, -1, "this is lost: " + uuid + ":8-9 (2 transactions, known from db3); and whatever was acknowledged and is only on db1"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if name == "no such cluster" {
				d := w.desk("ann")
				d.Cluster = "other"
				_, err := d.Do(t.Context(), c.a)
				require.EqualError(t, err, `rebuild: Consul knows no cluster "other"; name it with --cluster; there are: shop`)
				return
			}
			if c.edit != nil {
				c.edit(w)
			}
			got, err := w.desk("ann").Do(t.Context(), c.a)
			require.Equal(t, c.code, codeOf(err), "%v", err)
			require.ErrorContains(t, err, c.says)
			require.Empty(t, w.extra().Requests)
			require.Empty(t, got.Request.ID)
			if c.code == cli.Refused { // also for tools that read the document
				require.Equal(t, roles.RequestRefused, got.Request.State)
				require.Contains(t, err.Error(), "guard "+got.Request.Guard+": "+got.Request.Outcome)
			}
		})
	}
}

func TestDryRunSaysWhatWouldHappenAndWritesNothing(t *testing.T) {
	for says, c := range map[string]struct {
		a    Ask
		edit func(*world)
	}{
		"db1 hands the writes over to db2":                {ask(roles.RequestSwitchover, "db2"), nil},
		"db2 leaves the ack set, gives its data up":       {ask(roles.RequestRebuild, "db2"), nil},
		"its replication account and records are deleted": {ask(roles.RequestRemove, "db2"), func(w *world) { w.kill("db2") }},
		"db2 takes over, and nothing is lost":             {ask(roles.RequestFailover, ""), func(w *world) { w.kill("db1"); w.seal("db2", uuid+":1-9"); w.seal("db3", uuid+":1-8") }},
		"the living members elect one of themselves":      {ask(roles.RequestFailover, ""), func(w *world) { w.kill("db1") }},
		"the cluster's record is put back (term 3, primary db1, members db1+db2+db3, acks 1), the members that are there elect one of themselves, and this is lost: whatever was acknowledged and is only on db1": {
			Ask{Request: roles.Request{Kind: roles.RequestFailover, Node: "db2", Options: roles.RequestOptions{Force: true, AcceptDataLoss: true}}}, func(w *world) { w.kill("db1"); w.loseRecord("db2", "db3") }},
		"db1 is the primary already, in term 3": {ask(roles.RequestSwitchover, "db1"), nil},
		"on fewer disks than promised":          {Ask{Request: roles.Request{Kind: roles.RequestRebuild, Node: "db2", Options: roles.RequestOptions{Force: true}}}, func(w *world) { w.kill("db3") }},
	} {
		w := newWorld(t)
		if c.edit != nil {
			c.edit(w)
		}
		before, err := w.Read(t.Context(), w.keys.Prefix, true)
		require.NoError(t, err)
		c.a.DryRun = true
		got, err := w.desk("ann").Do(t.Context(), c.a)
		require.NoError(t, err, says)
		require.Contains(t, got.Said, says)
		after, err := w.Read(t.Context(), w.keys.Prefix, true)
		require.NoError(t, err)
		require.Equal(t, before.KVs, after.KVs, says)
	}
}

func TestFailoverWithALivingPrimaryIsASwitchover(t *testing.T) {
	w := newWorld(t)
	a := ask(roles.RequestFailover, "db2")
	a.Wait, a.Request.Options = false, roles.RequestOptions{Force: true, AcceptDataLoss: true}
	a.Confirm = func(string) error { return errors.New("asked although nothing is lost") }
	got, err := w.desk("ann").Do(t.Context(), a)
	require.NoError(t, err)
	require.Equal(t, roles.RequestSwitchover, got.Request.Kind)
	require.Zero(t, got.Request.Options)
	require.True(t, w.heard("db1 is the primary and lives: this is a switchover"))
}

func TestWhatNobodyTakesUpIsTakenBack(t *testing.T) { synctest.Test(t, whatNobodyTakesUpIsTakenBack) }

func whatNobodyTakesUpIsTakenBack(t *testing.T) {
	w := newWorld(t)
	d := w.desk("ann")
	r, err := d.submit(t.Context(), "rebuild", ask(roles.RequestRebuild, "db2").Request)
	require.NoError(t, err)
	got, err := d.follow(t.Context(), "rebuild", r, 50*time.Millisecond)
	require.Equal(t, cli.Failed, codeOf(err))
	require.EqualError(t, err, "rebuild (db2): no node took it up in time; nothing was changed")
	require.Equal(t, roles.RequestFailed, got.State)
	require.Equal(t, roles.RequestFailed, w.extra().Requests[0].State, "nobody may begin with it now")
}

func TestWhatIsUnderWayIsUnknown(t *testing.T) { synctest.Test(t, whatIsUnderWayIsUnknown) }

func whatIsUnderWayIsUnknown(t *testing.T) {
	w := newWorld(t)
	d := w.desk("ann")
	r, err := d.submit(t.Context(), "rebuild", ask(roles.RequestRebuild, "db2").Request)
	require.NoError(t, err)
	w.move(w.await(roles.RequestOpen), func(r *roles.Request) { r.State, r.Progress = roles.RequestRunning, "copying" })
	_, err = d.follow(t.Context(), "rebuild", r, 50*time.Millisecond)
	require.Equal(t, cli.Unknown, codeOf(err))
	require.ErrorContains(t, err, "it is still under way: copying; wait on with: autopilot-mysql history --request "+r.ID)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = d.follow(ctx, "rebuild", r, time.Minute)
	require.Equal(t, cli.Unknown, codeOf(err))
	require.ErrorContains(t, err, "interrupted; the request goes on; see its outcome with: autopilot-mysql history --request "+r.ID)

	ok, _, err := w.Txn(t.Context(), election.Delete(w.keys.Request(r.ID)))
	require.NoError(t, err)
	require.True(t, ok)
	_, err = d.follow(t.Context(), "rebuild", r, time.Minute)
	require.Equal(t, cli.Unknown, codeOf(err))
	require.ErrorContains(t, err, "somebody deleted the record")
}

func TestConsulOutOfReach(t *testing.T) {
	w := newWorld(t)
	w.Partition("", true) // the name of whoever is no node
	d := w.desk("ann")
	calls := map[string]func() error{
		"rebuild":         func() error { _, err := d.Do(t.Context(), ask(roles.RequestRebuild, "db2")); return err },
		"switchover":      func() error { _, err := d.Do(t.Context(), ask(roles.RequestSwitchover, "")); return err },
		"pause":           func() error { _, _, err := d.Pause(t.Context(), ""); return err },
		"resume":          func() error { _, err := d.Resume(t.Context()); return err },
		"history":         func() error { _, err := d.History(t.Context(), 0); return err },
		"one request":     func() error { _, err := d.Show(t.Context(), "x"); return err },
		"set settings":    func() error { _, err := d.Set(t.Context(), []string{"acks=2"}); return err },
		"shared settings": func() error { _, err := d.Shared(t.Context()); return err },
	}
	for name, call := range calls {
		err := call()
		require.Equal(t, cli.Failed, codeOf(err), "%s: %v", name, err)
		require.ErrorContains(t, err, "--consul", name)
		require.NotContains(t, err.Error(), "\n")
	}
}

func TestALostAnswerIsLookedUpAndNeverRepeated(t *testing.T) {
	for _, applied := range []bool{true, false} {
		w := newWorld(t)
		w.LoseNextTxn("", applied)
		a := ask(roles.RequestRebuild, "db2")
		a.Wait = false
		got, err := w.desk("ann").Do(t.Context(), a)
		if applied {
			require.NoError(t, err)
			require.Len(t, w.extra().Requests, 1)
			require.Equal(t, got.Request.ID, w.extra().Requests[0].ID)
			continue
		}
		require.Equal(t, cli.Unknown, codeOf(err))
		require.ErrorContains(t, err, "look whether it was written: autopilot-mysql history --request ")
		require.Empty(t, w.extra().Requests)
	}
}

// denied is a store that refuses for want of a permission.
type denied struct{ *election.Memory }

func (denied) Txn(context.Context, ...election.Op) (bool, string, error) {
	return false, "", errors.Join(election.ErrDenied)
}

func TestAnAclThatDeniesIsOneClearLine(t *testing.T) {
	w := newWorld(t)
	d := w.desk("ann")
	d.Store = denied{w.Memory}
	_, err := d.Do(t.Context(), ask(roles.RequestRebuild, "db2"))
	require.Equal(t, cli.Failed, codeOf(err))
	require.EqualError(t, err, "rebuild: permission denied")
	_, _, err = d.Pause(t.Context(), "")
	require.EqualError(t, err, "pause: permission denied")
}

func TestOldRequestsAreForgotten(t *testing.T) {
	w := newWorld(t)
	d := w.desk("ann")
	for range keepRequests + 5 {
		a := ask(roles.RequestRebuild, "db2")
		a.Wait = false
		_, err := d.Do(t.Context(), a)
		require.NoError(t, err)
		w.move(w.await(roles.RequestOpen), func(r *roles.Request) { r.State = roles.RequestDone })
	}
	require.Len(t, w.extra().Requests, keepRequests)
}
