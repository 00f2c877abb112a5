package guard

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// boottime is the time since boot, suspend included. The agent's deadlines are on this clock.
func boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		// Cannot happen on a Linux that runs Go; a clock far ahead errs to the safe side (kill).
		return 1<<63 - 1
	}
	return time.Duration(ts.Nano())
}

// bootTimer calls back when CLOCK_BOOTTIME reaches an instant, at once after a suspend or a freeze that
// slept through it. Go's own timers stand still in suspend.
type bootTimer struct {
	fd   int
	file *os.File
}

// newBootTimer starts a goroutine that calls fire after every expiry.
func newBootTimer(fire func()) (*bootTimer, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_BOOTTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("create timer: %w", err)
	}
	t := &bootTimer{fd: fd, file: os.NewFile(uintptr(fd), "timerfd")}
	go func() {
		var expirations [8]byte
		for {
			if _, err := t.file.Read(expirations[:]); err != nil {
				return
			}
			fire()
		}
	}()
	return t, nil
}

// set arms the timer for the instant at (CLOCK_BOOTTIME); 0 disarms it.
func (t *bootTimer) set(at time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(at.Nanoseconds())}
	if err := unix.TimerfdSettime(t.fd, unix.TFD_TIMER_ABSTIME, &spec, nil); err != nil {
		return fmt.Errorf("set timer: %w", err)
	}
	return nil
}
