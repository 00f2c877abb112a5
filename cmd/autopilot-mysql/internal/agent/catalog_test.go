package agent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// register is a catalog in memory that remembers in which order it was asked.
type register struct {
	entries []string
	asked   []string
	fails   string // what is refused
}

func (r *register) do(what, id string) error {
	r.asked = append(r.asked, what+" "+id)
	if r.fails == what {
		return errors.New("no")
	}
	return nil
}

func (r *register) Register(_ context.Context, s election.Service) error {
	err := r.do("register", s.ID)
	if err == nil && !slices.Contains(r.entries, s.ID) {
		r.entries = append(r.entries, s.ID)
	}
	return err
}

func (r *register) Deregister(_ context.Context, id string) error {
	err := r.do("deregister", id)
	if err == nil {
		r.entries = slices.DeleteFunc(r.entries, func(e string) bool { return e == id })
	}
	return err
}

func (r *register) Pass(_ context.Context, id, _ string) error { return r.do("pass", id) }
func (r *register) Fail(_ context.Context, id, _ string) error { return r.do("fail", id) }

// catalogOfN1 is the catalog of node n1 of the cluster main, with a lease of 3 s.
func catalogOfN1(t *testing.T, services election.Services) *catalog {
	t.Helper()
	p, err := election.ParamsFor(3 * time.Second)
	require.NoError(t, err)
	set := &config.Settings{Name: "n1"}
	set.Cluster, set.Service = "main", "mysql"
	return newCatalog(services, p, set, slog.New(slog.DiscardHandler))
}

// Clients wait for a new primary's entry and for nothing else: it comes before the reader's goes. The other way round an old
// primary must be gone from the catalog before it is anything else.
func TestCatalog_the_primary_is_registered_first_and_removed_first(t *testing.T) {
	r := &register{}
	c := catalogOfN1(t, r)
	reader, primary := c.entry("mysql", "standby"), c.primary()

	have, err := c.reconcile(t.Context(), nil, reader)
	require.NoError(t, err)
	have, err = c.reconcile(t.Context(), have, primary)
	require.NoError(t, err)
	require.Equal(t, []string{"register mysql-main-n1", "register mysql-primary-main-n1", "deregister mysql-main-n1"}, r.asked)
	r.asked = nil
	have, err = c.reconcile(t.Context(), have, reader)
	require.NoError(t, err)
	require.Equal(t, []string{"deregister mysql-primary-main-n1", "register mysql-main-n1"}, r.asked)

	r.fails = "deregister" // what stays behind is the reader's entry, never the primary's
	have, err = c.reconcile(t.Context(), have, primary)
	require.Error(t, err)
	require.Equal(t, primary.ID, have.ID)
	r.fails = ""
	have, err = c.reconcile(t.Context(), have, nil)
	require.NoError(t, err)
	require.Nil(t, have)
	require.Equal(t, []string{"mysql-main-n1"}, r.entries)
	require.Equal(t, reader.ID, c.left.ID, "to be removed next")
}

// pulse counts signs of life. It is safe for concurrent use.
type pulse struct {
	register
	count  atomic.Int64
	misses atomic.Bool
}

func (p *pulse) Pass(context.Context, string, string) error {
	p.count.Add(1)
	if p.misses.Load() {
		return errors.New("no")
	}
	return nil
}

// Consul writes a file for every sign of life that it takes: it gets no more of them than its check needs, and sooner one after one that
// it did not take.
func TestCatalog_signs_of_life(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &pulse{}
		c := catalogOfN1(t, r)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go c.run(ctx)
		c.want(c.primary())
		synctest.Wait()
		within := func(long time.Duration) int64 {
			r.count.Store(0)
			time.Sleep(long)
			synctest.Wait()
			return r.count.Load()
		}
		require.EqualValues(t, 3, within(c.params.C))
		r.misses.Store(true)
		require.EqualValues(t, 1, within(c.params.C/3))
		require.EqualValues(t, 2, within(2*c.params.I))
		r.misses.Store(false)
		require.EqualValues(t, 1, within(c.params.I), "once more at once")
		require.EqualValues(t, 1, within(c.params.C/3), "and then as before")
	})
	c := catalogOfN1(t, &register{})
	var err error
	c.params, err = election.ParamsFor(election.MaxLease)
	require.NoError(t, err)
	require.Equal(t, catalogEvery, c.next(nil), "a long lease does not leave clients for long without an entry that Consul has forgotten")
}

// slowRegister answers when it may.
type slowRegister struct {
	register
	may chan struct{}
}

func (r *slowRegister) Deregister(ctx context.Context, id string) error {
	select {
	case <-r.may:
	case <-ctx.Done():
		return ctx.Err()
	}
	return r.register.Deregister(ctx, id)
}

// Writes end only when no client is sent to the old primary any more; but not later than they would without Consul.
func TestCatalog_remove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &slowRegister{may: make(chan struct{})}
		c := catalogOfN1(t, r)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			c.run(ctx)
		}()
		defer func() {
			cancel()
			<-ended
		}()
		c.remove(t.Context()) // nothing is registered
		c.want(c.primary())
		synctest.Wait()
		require.Len(t, r.entries, 1)

		began := time.Now()
		late, stop := context.WithTimeout(t.Context(), removeLimit)
		defer stop()
		c.remove(late)
		require.Equal(t, removeLimit, time.Since(began))
		require.Len(t, r.entries, 1)

		go func() {
			time.Sleep(10 * time.Millisecond)
			close(r.may)
		}()
		c.remove(t.Context())
		require.Equal(t, removeLimit+10*time.Millisecond, time.Since(began))
		require.Empty(t, r.entries)

		c.want(c.primary()) // the hand-over did not come about
		synctest.Wait()
		require.Len(t, r.entries, 1)
	})
}

// A node that died as the primary and comes back at once is not found as the primary until its check runs out.
func TestCatalog_what_a_dead_primary_left_goes_when_it_is_back(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &register{entries: []string{"mysql-primary-main-n1"}}
		a := &Agent{catalog: catalogOfN1(t, r), leftBehind: true}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go a.catalog.run(ctx)
		synctest.Wait()
		a.clearCatalog(roles.Facts{})
		synctest.Wait()
		require.Empty(t, r.asked, "somebody else may have its name")
		a.clearCatalog(roles.Facts{Lease: roles.Lease{Session: "s"}})
		synctest.Wait()
		require.Equal(t, []string{"deregister mysql-primary-main-n1"}, r.asked)
		require.Empty(t, r.entries)
		a.clearCatalog(roles.Facts{Lease: roles.Lease{Session: "s"}})
		synctest.Wait()
		require.Len(t, r.asked, 1, "once")
	})
}
