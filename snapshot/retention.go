package snapshot

import (
	"context"
	"fmt"
	"sort"
	"time"
)

// DefaultOrphanAge is how old the newest object of a snapshot without a
// manifest must be before Prune removes it. A snapshot being made adds parts all
// the time, so only an abandoned one is that quiet.
const DefaultOrphanAge = 24 * time.Hour

// Retention says which snapshots stay. Snapshots of different clusters of the
// same name (ClusterID) are judged apart: a cluster made anew does not push out
// what is left of the one before.
type Retention struct {
	// Keep is how many of the newest usable snapshots stay; less than one counts
	// as one.
	Keep int
	// Daily and Weekly keep, in addition, the newest snapshot of each of so many
	// days and ISO weeks (UTC) that have one.
	Daily, Weekly int
	// Protect names the ids of snapshots that stay whatever their age.
	Protect map[string]bool
	// OrphanAge replaces DefaultOrphanAge unless it is zero.
	OrphanAge time.Duration
}

// Verdict is what a retention says about one snapshot.
type Verdict struct {
	ID    string    `json:"id"`
	At    time.Time `json:"at"`
	Bytes int64     `json:"stored_bytes"`
	Keep  bool      `json:"keep"`
	Why   string    `json:"why"`
}

// Judge says what Retire would keep and remove, newest first, and changes
// nothing. What was abandoned before it was complete comes last.
func Judge(ctx context.Context, store Store, cluster string, r Retention) ([]Verdict, error) {
	inv, err := takeInventory(ctx, store, cluster)
	if err == nil {
		err = inv.unknown
	}
	if err != nil {
		return nil, fmt.Errorf("judge snapshots: %w", err)
	}
	now := time.Now()
	all := inv.judge(r, now)
	for _, id := range inv.orphans(now.Add(-r.orphanAge())) {
		v := Verdict{ID: id, Why: "it was never completed"}
		for _, o := range inv.objects[id] {
			v.Bytes += o.Size
		}
		all = append(all, v)
	}
	return all, nil
}

func (r Retention) orphanAge() time.Duration {
	if r.OrphanAge <= 0 {
		return DefaultOrphanAge
	}
	return r.OrphanAge
}

// judge gives a verdict on every snapshot that has a readable manifest.
func (inv *inventory) judge(r Retention, now time.Time) []Verdict {
	groups := map[string]*quota{}
	for _, m := range inv.manifests {
		if inv.usable(m) {
			g := groups[m.ClusterID]
			if g == nil {
				g = newQuota(r)
				groups[m.ClusterID] = g
			}
			g.count(m)
		}
	}
	out := make([]Verdict, 0, len(inv.manifests))
	for _, m := range inv.manifests {
		v := Verdict{ID: m.ID, At: m.CreatedAt, Bytes: m.StoredBytes, Keep: true}
		g := groups[m.ClusterID]
		switch {
		case g == nil:
			v.Why = "there is no usable one of its cluster; it may be better than nothing"
		case g.keeps[m.ID] != "":
			v.Why = g.keeps[m.ID]
		case r.Protect[m.ID]:
			v.Why = "it is protected"
		case read(inv.objects[m.ID], now):
			v.Why = "it is being read by a restore"
		default:
			v.Keep, v.Why = false, inv.whyGo(m)
		}
		out = append(out, v)
	}
	return out
}

// usable tells whether a snapshot counts as one to keep.
func (inv *inventory) usable(m Manifest) bool {
	return m.present(inv.objects[m.ID]) == nil && !m.bad()
}

func (inv *inventory) whyGo(m Manifest) string {
	switch err := m.present(inv.objects[m.ID]); {
	case err != nil:
		return err.Error()
	case m.bad():
		return "its verification failed: " + m.Verified.Why
	}
	return "newer ones fill the retention"
}

// quota hands out the places of one cluster to its usable snapshots, which come
// newest first.
type quota struct {
	r           Retention
	last        int
	days, weeks map[string]bool
	verified    bool
	keeps       map[string]string // id → why
}

func newQuota(r Retention) *quota {
	return &quota{r: r, days: map[string]bool{}, weeks: map[string]bool{}, keeps: map[string]string{}}
}

func (q *quota) count(m Manifest) {
	at := m.CreatedAt.UTC()
	year, week := at.ISOWeek()
	var why string
	keep := max(q.r.Keep, 1)
	if take(q.weeks, fmt.Sprintf("%d-%d", year, week), q.r.Weekly) {
		why = fmt.Sprintf("newest of week %d of %d", week, year)
	}
	if take(q.days, at.Format(time.DateOnly), q.r.Daily) {
		why = "newest of " + at.Format(time.DateOnly)
	}
	if !q.verified && m.Verified != nil {
		q.verified = true
		why = "newest one that was verified"
	}
	if q.last < keep {
		q.last++
		why = fmt.Sprintf("among the newest %d", keep)
	}
	if why != "" {
		q.keeps[m.ID] = why
	}
}

// take fills a place for a period that has none yet, while there are places.
func take(taken map[string]bool, period string, places int) bool {
	if taken[period] || len(taken) >= places {
		return false
	}
	taken[period] = true
	return true
}

// surplus returns what may go, oldest first: if the work is interrupted, the
// better ones are left.
func (inv *inventory) surplus(r Retention, now time.Time) (out []Manifest) {
	keep := map[string]bool{}
	for _, v := range inv.judge(r, now) {
		keep[v.ID] = v.Keep
	}
	for _, m := range inv.manifests {
		if !keep[m.ID] {
			out = append(out, m)
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].CreatedAt.Before(out[j].CreatedAt) })
	return out
}
