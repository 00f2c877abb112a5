package sim

import "math/rand/v2"

// chance is where every choice of a run comes from. A run that is given the same numbers makes the same choices.
type chance struct {
	rng    *rand.Rand
	replay []uint16 // chosen before; when it is used up, rng goes on, or 0 if there is none
	made   []uint16
}

func seeded(seed uint64) *chance {
	return &chance{rng: rand.New(rand.NewPCG(seed, 0x5eed))}
}

func replaying(choices []uint16) *chance { return &chance{replay: choices} }

// pick chooses one of n.
func (c *chance) pick(n int) int {
	if n <= 1 {
		return 0
	}
	var x int
	switch at := len(c.made); {
	case at < len(c.replay):
		x = int(c.replay[at]) % n
	case c.rng != nil:
		x = c.rng.IntN(n)
	}
	c.made = append(c.made, uint16(x))
	return x
}

// one is true once in n; never when choices are exhausted.
func (c *chance) one(n int) bool { return c.pick(n) == n-1 }

// shrink looks for a shorter list of choices that still fails, within a number of attempts.
func shrink(choices []uint16, attempts int, fails func([]uint16) ([]uint16, bool)) []uint16 {
	best := choices
	for size := len(best) / 2; size >= 1 && attempts > 0; size /= 2 {
		for at := 0; at+size <= len(best) && attempts > 0; {
			attempts--
			shorter := append(append([]uint16{}, best[:at]...), best[at+size:]...)
			if made, ok := fails(shorter); ok && len(made) < len(best) {
				best = made
				continue
			}
			at += size
		}
	}
	return best
}
