package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/election"
)

// fed records what the guard was given.
type fed struct {
	mu       sync.Mutex
	deadline time.Duration
	memory   []byte
}

func (f *fed) Feed(d time.Duration, memory []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deadline = d
	if memory != nil {
		f.memory = memory
	}
	return nil
}

func (f *fed) Mysqld() (int, bool) { return 7, true }

func (f *fed) last() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.deadline
}

// keeping is a keeper over the in-memory store, in simulated time.
type keeping struct {
	*keeper
	store *election.Memory
	guard *fed
	probe error
}

func newKept(t *testing.T, keep bool) *keeping {
	t.Helper()
	p, err := election.ParamsFor(3 * time.Second)
	require.NoError(t, err)
	began := time.Now()
	k := &keeping{store: election.NewMemory(), guard: &fed{}}
	k.keeper = &keeper{
		session: k.store.Session("n1", p.C), params: p, key: "leader", guard: k.guard, wake: func() {}, log: slog.New(slog.DiscardHandler), keep: keep,
		now:    func() time.Duration { return time.Since(began) + time.Hour },
		probe:  func(context.Context) error { return k.probe },
		holder: func(context.Context) (string, error) { return k.holding(), nil },
	}
	return k
}

// holding is the session that has the lock.
func (k *keeping) holding() string {
	v, _ := k.store.Read(context.Background(), "leader", true)
	return v.KVs["leader"].Session
}

// lead takes the lock and arms the guard, as an opening does.
func (k *keeping) lead(t *testing.T) {
	t.Helper()
	got, err := k.acquire(t.Context(), []byte("n1"))
	require.NoError(t, err)
	require.True(t, got)
	require.NoError(t, k.arm())
}

// beats lets time pass as run would, with a healthy mysqld unless said otherwise.
func (k *keeping) beats(ctx context.Context, d time.Duration, healthy bool) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(k.params.I) {
		if healthy {
			k.note(true, false)
		}
		k.beat(ctx)
		synctest.Wait()
	}
}

func TestGuardIsFedBeyondTheProofAndBeforeAnybodyElseCanLead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, false)
		k.lead(t)
		k.beats(t.Context(), 10*time.Second, true)
		require.True(t, k.state().held)
		left := k.guard.last() - k.now()
		require.Greater(t, left, k.params.F/2)
		require.Less(t, left, k.params.C*99/100)
	})
}

func TestStrictLosesTheLeaseWithConsul(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, false)
		k.lead(t)
		k.store.Partition("n1", true)
		k.beats(t.Context(), k.params.H+time.Second, true)
		require.False(t, k.state().provable)
		require.Less(t, k.guard.last(), k.now(), "the guard's deadline has passed")
	})
}

func TestKeepSurvivesConsulOutagesAsLongAsTheQuorumAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, true)
		k.lead(t)
		for range 2 { // the second outage is survived like the first
			k.store.Partition("n1", true)
			k.beats(t.Context(), time.Minute, true)
			require.True(t, k.state().provable)
			require.Greater(t, k.guard.last(), k.now())
			k.store.Partition("n1", false)
			k.beats(t.Context(), 5*time.Second, true)
			require.True(t, k.state().provable)
		}
		k.store.Partition("n1", true)
		k.probe = errors.New("nobody acknowledges")
		k.beats(t.Context(), k.params.H+time.Second, true)
		require.False(t, k.state().provable, "without Consul and without the quorum there is no proof")
	})
}

func TestAHangingMysqldIsNoReasonToKeepTheLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, true)
		k.probe = errors.New("mysqld hangs")
		k.lead(t)
		k.beats(t.Context(), 2*k.params.H+time.Second, false)
		require.False(t, k.state().provable)
	})
}

func TestAfterGivingUpTheLeaseTheSessionLivesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, true)
		k.lead(t)
		k.disarm()
		k.drop()
		k.store.Expire(k.session.ID())
		k.beats(t.Context(), 5*time.Second, true)
		require.NotEmpty(t, k.state().session, "a new session: the node can take part again")
		require.False(t, k.state().held)
	})
}

// slowGuard answers a feed only when it may, as a guard on a busy machine does.
type slowGuard struct {
	fed
	asked, may chan struct{}
}

func (g *slowGuard) Feed(d time.Duration, memory []byte) error {
	if d != 0 {
		close(g.asked)
		<-g.may
	}
	return g.fed.Feed(d, memory)
}

func TestNoDeadlineIsLeftBehindByAFeedUnderWay(t *testing.T) {
	k := newKept(t, false) // in real time: a wait for a mutex does not let simulated time pass
	k.lead(t)
	g := &slowGuard{asked: make(chan struct{}), may: make(chan struct{})}
	k.keeper.guard = g
	var all sync.WaitGroup
	all.Go(k.feed)
	<-g.asked
	all.Go(k.disarm)
	time.Sleep(50 * time.Millisecond) // gives a disarm that does not wait the time to be first
	close(g.may)
	all.Wait()
	require.Zero(t, g.last(), "a fenced mysqld must not be killed by a proof that was under way")
}

func TestACandidateWhoseLeaseRanOutGetsASessionAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, true)
		got, err := k.acquire(t.Context(), []byte("n1")) // elected, and never gets as far as opening
		require.NoError(t, err)
		require.True(t, got)
		k.store.Partition("n1", true)
		k.beats(t.Context(), 10*time.Second, true)
		k.store.Partition("n1", false)
		k.beats(t.Context(), 5*time.Second, true)
		require.False(t, k.state().held)
		require.NotEmpty(t, k.state().session)
		got, err = k.acquire(t.Context(), []byte("n1"))
		require.NoError(t, err)
		require.True(t, got, "it can be a candidate again")
	})
}

// stuck is a session whose sign of life takes far too long: several requests, each of which runs out of its time.
type stuck struct {
	election.Session
	takes time.Duration
}

func (s stuck) Pass(context.Context) error {
	time.Sleep(s.takes)
	return election.ErrUnreachable
}

func TestTheProofByQuorumDoesNotWaitForConsul(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKept(t, true)
		k.lead(t)
		k.beats(t.Context(), time.Second, true)
		k.session = stuck{k.session, 3 * k.params.H}
		done := make(chan struct{})
		go func() { defer close(done); k.beat(t.Context()) }()
		time.Sleep(2 * k.params.H)
		require.True(t, k.state().provable, "the quorum acknowledges, whatever Consul does")
		require.Greater(t, k.guard.last(), k.now())
		<-done
	})
}
