package harness

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestStallsWithin(t *testing.T) {
	at := time.Now()
	ms := func(n int) time.Time { return at.Add(time.Duration(n) * time.Millisecond) }
	s := &Stalls{seen: []span{{ms(0), ms(50)}, {ms(100), ms(180)}}}
	require.Equal(t, 130*time.Millisecond, s.Within(ms(-10), ms(500)))
	require.Equal(t, 30*time.Millisecond, s.Within(ms(20), ms(90)))
	require.Zero(t, s.Within(ms(60), ms(90)))
}
