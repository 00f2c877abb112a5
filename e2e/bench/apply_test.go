package bench

import (
	"fmt"
	"testing"
	"time"
)

// appliers measures whether replicas apply as fast as clients write, by the number of parallel workers.
func appliers(t *testing.T, r *result) {
	for _, workers := range []int{4, 16, 4, 8, 32, 16} {
		all := semiSyncSet(t, fmt.Sprintf("--replica-parallel-workers=%d", workers))
		b := newBoard()
		b.show(all[0].addr())
		f := start(b, openBare, 8)
		time.Sleep(2 * time.Second)
		before, _ := f.count()
		began := time.Now()
		time.Sleep(8 * time.Second)
		after, _ := f.count()
		rate := float64(after-before) / time.Since(began).Seconds()
		f.stop()
		end := time.Now()
		executed := all[0].value("SELECT @@GLOBAL.gtid_executed")
		for _, n := range all[1:] {
			n.await(fmt.Sprintf("SELECT GTID_SUBSET('%s', @@GLOBAL.gtid_executed)", executed))
		}
		behind := time.Since(end)
		name := fmt.Sprintf("%d workers: ", workers)
		r.of(name+"commits with 8 clients", "/s").add(rate)
		r.of(name+"replicas behind after 10 s", "ms").took(behind)
		t.Logf("%d workers: %.0f commits/s, behind after 10 s: %v", workers, rate, behind)
		for _, n := range all {
			n.kill()
		}
	}
}
