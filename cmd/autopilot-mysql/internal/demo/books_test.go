package demo

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBooksMeasureTheGapAroundAKill(t *testing.T) {
	b, at := newBooks(), time.Now()
	for i, ms := range []int{0, 10, 900, 2000, 5000, 5010, 5020, 5030, 5040, 5050, 5060, 5070, 5080, 5090} {
		b.acked[int64(i)] = at
		b.times = append(b.times, at.Add(time.Duration(ms)*time.Millisecond))
	}
	require.Equal(t, 3*time.Second, b.gapAround(at.Add(2100*time.Millisecond)), "the long pause before the kill does not count")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.NoError(t, b.waitSince(at.Add(2100*time.Millisecond))(ctx))
	require.ErrorIs(t, b.waitSince(at.Add(5*time.Second))(ctx), context.DeadlineExceeded, "too few writes since")
	require.Len(t, b.copy(), 14)
}

func TestPrimaryIsTheOnlyPassingOne(t *testing.T) {
	answer := ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(answer)) }))
	defer s.Close()
	one := `{"Node":{"Address":"10.0.0.1"},"Service":{"Address":"","Port":3306}}`
	for give, want := range map[string]string{"[" + one + "]": "10.0.0.1:3306", "[]": "", "[" + one + "," + one + "]": ""} {
		answer = give
		addr, err := primaryAddr(t.Context(), strings.TrimPrefix(s.URL, "http://"))
		require.Equal(t, want, addr)
		require.Equal(t, want == "", err != nil)
	}
}
