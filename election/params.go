package election

import (
	"fmt"
	"time"
)

// Params are the times of one lease. They belong together and are the same on all nodes of a cluster.
type Params struct {
	// C is how long after the last sign of life the store gives the lock to somebody else: "the lease" of the product.
	C time.Duration
	// H is how long after sending a renewal that succeeded the holder may act as such.
	H time.Duration
	// I is the period of renewals.
	I time.Duration
	// R is the time-out of one renewal with all its requests.
	R time.Duration
	// F is the budget for stopping to act once H is over.
	F time.Duration
}

// MinLease and MaxLease bound what [ParamsFor] accepts. Below a second a scheduler hiccup of this machine would cost the
// lease; above 30 s a failover takes so long that the setting is more likely a mistake (30 for "30 ms", say).
const (
	MinLease = time.Second
	MaxLease = 30 * time.Second
)

// Two sets of times were chosen by hand and measured; the others are derived from them.
var (
	paramsAt1s = Params{C: 1 * time.Second, I: 200 * time.Millisecond, R: 200 * time.Millisecond,
		H: 700 * time.Millisecond, F: 280 * time.Millisecond}
	paramsAt3s = Params{C: 3 * time.Second, I: 500 * time.Millisecond, R: 700 * time.Millisecond,
		H: 2200 * time.Millisecond, F: 700 * time.Millisecond}
)

// Above 3 s the times grow in proportion only up to these, and H takes the rest: a renewal that needs longer than 2 s has
// failed, and fencing does not become slower with a longer lease.
const (
	maxI = time.Second
	maxR = 2 * time.Second
	maxF = 2 * time.Second
)

// ParamsFor derives the times of a lease. Between 1 s and 3 s every time is interpolated linearly between the two measured
// sets; above 3 s they grow in proportion, bounded by maxI, maxR and maxF, and H + F stays at 29/30 of C.
func ParamsFor(lease time.Duration) (Params, error) {
	if lease < MinLease || lease > MaxLease {
		return Params{}, fmt.Errorf("lease %v is not between %v and %v", lease, MinLease, MaxLease)
	}
	p := Params{C: lease}
	lo, hi := paramsAt1s, paramsAt3s
	if lease <= hi.C {
		between := func(a, b time.Duration) time.Duration {
			share := float64(lease-lo.C) / float64(hi.C-lo.C)
			return (a + time.Duration(share*float64(b-a))).Round(time.Millisecond)
		}
		p.I, p.R, p.H, p.F = between(lo.I, hi.I), between(lo.R, hi.R), between(lo.H, hi.H), between(lo.F, hi.F)
	} else {
		grown := func(at3s, most time.Duration) time.Duration {
			share := float64(lease) / float64(hi.C)
			return min(time.Duration(share*float64(at3s)).Round(time.Millisecond), most)
		}
		p.I, p.R, p.F = grown(hi.I, maxI), grown(hi.R, maxR), grown(hi.F, maxF)
		p.H = (lease*29/30 - p.F).Truncate(time.Millisecond)
	}
	return p, p.Validate()
}

// Validate checks the two conditions under which the times are safe and useful: fencing ends before the store gives the
// lock away even if the two clocks differ by 1 % (H + F ≤ 0.99 C), and one renewal may fail (I + 2R < H).
func (p Params) Validate() error {
	for _, d := range []time.Duration{p.C, p.H, p.I, p.R, p.F} {
		if d <= 0 {
			return fmt.Errorf("lease times %+v: each must be positive", p)
		}
	}
	if limit := p.C * 99 / 100; p.H+p.F > limit {
		return fmt.Errorf("lease times: holding %v + fencing %v exceed %v, which is 99 %% of the lease %v", p.H, p.F, limit, p.C)
	}
	if p.I+2*p.R >= p.H {
		return fmt.Errorf("lease times: interval %v + two time-outs of %v do not fit into holding %v", p.I, p.R, p.H)
	}
	return nil
}
