package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/history"
)

// startBound is how long a fresh cluster may take until it is whole.
const startBound = 6 * time.Minute

// play runs the campaign to its end; what it finds are violations.
func (c *campaign) play() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.say("seed %d, in %s", c.o.Seed, c.dir)
	if err := c.cluster.up(); err != nil {
		c.violation("the cluster cannot be started: %v", err)
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { c.watch.run(ctx) })
	defer wg.Wait()
	defer cancel()
	if !c.waitWhole("start", startBound) {
		return
	}
	if err := c.writers.start(); err != nil {
		c.violation("the writers cannot be started: %v", err)
		return
	}
	defer c.writers.stop()
	c.say("the cluster is whole after %v", time.Since(c.began).Round(time.Second))
	c.began = time.Now()
	for len(c.bad()) == 0 && time.Since(c.began) < c.o.Time {
		r := c.plan.next()
		if r.Number < c.o.From {
			continue
		}
		if c.o.Rounds > 0 && r.Number >= max(c.o.From, 1)+c.o.Rounds {
			break
		}
		c.round(r)
	}
	if len(c.bad()) == 0 {
		c.finish()
	}
}

// round plays one round: strikes, heals, and waits for the cluster.
func (c *campaign) round(r round) {
	c.say("%v", r)
	// What a fault that is always alone may cost is only known when the cluster was whole before.
	if c.plan.fault(r.Steps[0].Fault).solo && !c.waitWhole("before", wholeBound) {
		return
	}
	began := time.Now()
	bound := usualBound
	var wg sync.WaitGroup
	for i, st := range r.Steps {
		if f := c.plan.fault(st.Fault); f.bound > bound {
			bound = f.bound
		}
		wg.Go(func() {
			time.Sleep(time.Until(began.Add(st.After)))
			c.step(r.Number, i, st)
		})
	}
	wg.Wait()
	if len(c.bad()) > 0 {
		return
	}
	healed := time.Now()
	c.mu.Lock()
	c.totals.Rounds++
	c.mu.Unlock()
	if !c.waitWrites(healed, bound) {
		return
	}
	again := time.Since(healed)
	if r.Hasty {
		c.say("round %d: writes go through %v after the last heal, longest gap %v", r.Number, again.Round(time.Millisecond), c.gap(began))
		return
	}
	if !c.waitWhole("round", wholeBound) {
		return
	}
	whole := time.Since(healed)
	c.checkRound()
	c.say("round %d: writes go through %v after the last heal, the cluster is whole after %v, longest gap %v", r.Number,
		again.Round(time.Millisecond), whole.Round(time.Millisecond), c.gap(began))
}

func (c *campaign) gap(from time.Time) time.Duration {
	for _, g := range history.Gaps(c.writers.books().acks, from, 1) {
		return g.Length().Round(time.Millisecond)
	}
	return 0
}

// step strikes, holds and heals.
func (c *campaign) step(number, i int, st step) {
	f := c.plan.fault(st.Fault)
	s := &strike{c: c, name: st.Fault, id: fmt.Sprintf("r%ds%d", number, i), hold: st.Hold, rng: rand.New(rand.NewPCG(st.Draw, uint64(i)))}
	if st.Target != "" {
		n, err := c.find(st.Target, s.rng)
		if err != nil {
			c.notNow(s, err)
			return
		}
		s.target = n
		s.note("strikes %s (%s), term %d", n.name, st.Target, c.watch.now().Term)
	} else {
		s.note("strikes")
	}
	heal, err := f.strike(s)
	if err != nil {
		c.notNow(s, err)
	} else {
		c.mu.Lock()
		c.totals.Faults[st.Fault]++
		c.mu.Unlock()
		time.Sleep(st.Hold)
	}
	if heal != nil {
		if err := heal(); err != nil {
			c.violation("%s cannot be undone: %v", st.Fault, err)
		}
	}
	s.note("is over")
}

// notNow counts a fault that could not be made: the one before has left nothing to strike.
func (c *campaign) notNow(s *strike, err error) {
	s.note("not made: %v", err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.totals.NotNow[s.name]++
}

func (c *campaign) slowest(what string, d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.totals.Slowest[what] = max(c.totals.Slowest[what], d)
}

// enough acknowledgements show that writes go through, and not only one of them.
const enough = 20

// waitWrites waits until clients that ask Consul are served again.
func (c *campaign) waitWrites(from time.Time, bound time.Duration) bool {
	bound = stretched(bound)
	var last error
	ok := c.await(bound, func() bool {
		count, err := c.writers.since(from)
		last = err
		return count >= enough
	})
	if !ok {
		c.violation("writes do not go through within %v after the last heal; the last error was: %v; status: %s", bound, last, c.statusLine())
		return false
	}
	c.slowest("until writes go through", time.Since(from))
	return true
}

func (c *campaign) statusLine() string {
	d, err := c.cluster.status()
	if err != nil {
		return err.Error()
	}
	return d.Line()
}

// calmAfter is when the writers write less, so that the cluster can become whole.
const calmAfter = 30 * time.Second

// waitWhole waits until all members are back: one primary, the others standbys, and every write promised to be on one
// more node.
func (c *campaign) waitWhole(what string, bound time.Duration) bool { //nolint:unparam // what a start may take is its own constant
	began, missing := time.Now(), ""
	bound = stretched(bound)
	defer c.writers.calm.Store(false)
	ok := c.await(bound, func() bool {
		// On a busy machine a replica may not keep up with a primary that need not wait for it.
		c.writers.calm.Store(time.Since(began) > calmAfter)
		d, err := c.cluster.status()
		if err != nil {
			missing = err.Error()
			return false
		}
		missing = whole(d)
		return missing == ""
	})
	if !ok {
		c.violation("the cluster is not whole within %v (%s): %s; status: %s", bound, what, missing, c.statusLine())
		return false
	}
	c.slowest("until the cluster is whole", time.Since(began))
	return true
}

// checkRound looks for the newest acknowledged writes on the primary, so that a loss is found in the round that made it.
func (c *campaign) checkRound() {
	acks := c.writers.books().all()
	primary, _ := c.roles()
	if primary == nil {
		return
	}
	have, err := c.have(primary)
	if err != nil {
		c.note("not checked: %v", err) // the end of the campaign checks everything again
		return
	}
	c.losses(primary, acks, have)
}

// losses reports acknowledged writes that a node lacks.
func (c *campaign) losses(n *node, acks []history.Write, have map[int64]bool) {
	lost := history.Lost(acks, have, c.watch.terms())
	for i, l := range lost {
		if i == 20 {
			c.violation("… and %d more on %s", len(lost)-i, n.name)
			break
		}
		c.violation("%s lacks %v", n.name, l)
	}
}

// have are the writes a node holds.
func (c *campaign) have(n *node) (map[int64]bool, error) {
	db, err := n.rootDB()
	if err != nil {
		return nil, err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	rows, err := db.QueryContext(ctx, "SELECT id FROM "+database+".chaos_writes")
	if err != nil {
		return nil, fmt.Errorf("read the writes of %s: %w", n.name, err)
	}
	defer rows.Close()
	have := map[int64]bool{}
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, fmt.Errorf("read the writes of %s: %w", n.name, err)
		}
		have[id] = true
	}
	return have, errors.Join(rows.Err())
}
