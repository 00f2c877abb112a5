package agent

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/mysql"
)

// probed is a primary that is looked at every quarter of a second, and whose commits do what commit says.
type probed struct {
	t       *testing.T
	p       prober
	start   time.Time
	end     mysql.BinlogPos
	commits atomic.Int64
}

func newProbed(t *testing.T, commit func(context.Context) error) *probed {
	x := &probed{t: t, start: time.Now(), end: mysql.BinlogPos{File: "binlog.000001", Pos: 4}}
	x.p = prober{wake: func() {}, refused: func(error) (string, bool) { return "", false }, commit: func(ctx context.Context) error { x.commits.Add(1); return commit(ctx) }}
	return x
}

// forTime looks for d; grow makes the binary log grow before each look.
func (x *probed) forTime(d time.Duration, waiting int, grow bool) (stuck time.Duration, why string) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(tick) {
		if grow {
			x.end.Pos += 100
		}
		stuck, why = x.p.look(x.t.Context(), time.Since(x.start)+time.Hour, x.end, waiting)
	}
	synctest.Wait()
	return stuck, why
}

func hang(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func TestAServerThatCommitsIsNotProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newProbed(t, func(context.Context) error { return nil })
		stuck, _ := x.forTime(time.Minute, 0, true)
		require.Zero(t, stuck)
		require.Zero(t, x.commits.Load(), "its own clients prove it")
		_, _ = x.forTime(time.Minute, 0, false)
		require.Greater(t, x.commits.Load(), int64(5))
		require.Less(t, x.commits.Load(), int64(15), "an idle server is left in peace")
	})
}

func TestACommitThatHangsIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newProbed(t, hang)
		defer x.p.forget()
		_, _ = x.forTime(time.Minute, 0, true)
		stuck, why := x.forTime(10*time.Second, 0, false)
		require.Greater(t, stuck, 7*time.Second, "a second after the last write it is asked")
		require.Empty(t, why)
		require.Equal(t, int64(1), x.commits.Load(), "one at a time")
		stuck, _ = x.forTime(tick, 0, true)
		require.Zero(t, stuck, "somebody's commit went through")
	})
}

func TestACommitThatWaitsForAnAcknowledgementIsNotTheDisksFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newProbed(t, hang)
		defer x.p.forget()
		stuck, _ := x.forTime(time.Minute, 3, false)
		require.Zero(t, stuck)
		stuck, _ = x.forTime(5*time.Second, 0, false)
		require.Greater(t, stuck, 3*time.Second, "the acknowledgements came, the commit did not")
		require.Less(t, stuck, 6*time.Second, "and only that time counts")
	})
}

func TestARefusedCommitCountsAtOnce(t *testing.T) {
	for _, refused := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			x := newProbed(t, func(context.Context) error { return errors.New("error 1114: the table is full") })
			x.p.refused = func(err error) (string, bool) { return err.Error(), refused }
			stuck, why := x.forTime(10*time.Second, 0, false)
			if !refused { // locked tables, a broken connection: says nothing
				require.Zero(t, stuck)
				return
			}
			require.Greater(t, stuck, 5*time.Second)
			require.Contains(t, why, "error 1114")
		})
	}
}
