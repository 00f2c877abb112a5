package bench

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// pressure is how long something on this machine has waited for a CPU that was busy, or for a disk, until now.
type pressure struct {
	at      time.Time
	cpu, io time.Duration
	load    string
}

func readPressure() pressure {
	return pressure{at: time.Now(), cpu: someWaited("/proc/pressure/cpu"), io: someWaited("/proc/pressure/io"), load: loadNow()}
}

func someWaited(path string) time.Duration {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	_, total, ok := strings.Cut(strings.SplitN(string(b), "\n", 2)[0], "total=")
	us, err := strconv.ParseInt(strings.TrimSpace(total), 10, 64)
	if !ok || err != nil {
		return 0
	}
	return time.Duration(us) * time.Microsecond
}

func loadNow() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	return strings.Join(strings.Fields(string(b))[:1], " ")
}

// since says how busy the machine was, by this measurement and by whatever else ran beside it.
func (p pressure) since() string {
	now := readPressure()
	took := now.at.Sub(p.at)
	return fmt.Sprintf("beside other work on the machine: load %s before it began on %d cores; while it ran something waited for a CPU %.0f %% of the time, for the disk %.0f %%",
		p.load, runtime.NumCPU(), 100*float64(now.cpu-p.cpu)/float64(took), 100*float64(now.io-p.io)/float64(took))
}
