package bench

import (
	"context"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// traffic adds up what some processes send to and receive from one TCP port, from what the kernel says of each connection.
type traffic struct {
	port string
	pids map[int]bool
	was  map[string][2]float64 // by connection, when the counting began
	now  map[string][2]float64 // the newest
}

var (
	ssUser  = regexp.MustCompile(`pid=(\d+),`)
	ssBytes = regexp.MustCompile(`bytes_(sent|received):(\d+)`)
)

// countTraffic begins; nil: this machine has no program ss.
func countTraffic(port string, pids map[int]bool) *traffic {
	t := &traffic{port: port, pids: pids, now: map[string][2]float64{}}
	if !t.look() {
		return nil
	}
	t.was = t.now
	t.now = map[string][2]float64{}
	return t
}

// look reads the counters. What a connection that ends moved after the last look is not counted, so it should come often.
func (t *traffic) look() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ss", "-tinpHO", "state", "established", "dport = :"+t.port).Output()
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(out)) {
		f, user := strings.Fields(line), ssUser.FindStringSubmatch(line)
		if len(f) < 4 || user == nil {
			continue
		}
		if pid, _ := strconv.Atoi(user[1]); !t.pids[pid] {
			continue
		}
		var bytes [2]float64
		for _, m := range ssBytes.FindAllStringSubmatch(line, -1) {
			n, _ := strconv.ParseFloat(m[2], 64)
			if m[1] == "sent" {
				bytes[0] = n
			} else {
				bytes[1] = n
			}
		}
		t.now[f[2]] = bytes
	}
	return true
}

// sum is what was moved since the counting began.
func (t *traffic) sum() (sent, received float64) {
	t.look()
	for conn, n := range t.now {
		was := t.was[conn]
		sent += n[0] - was[0]
		received += n[1] - was[1]
	}
	return sent, received
}
