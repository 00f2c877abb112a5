package bench

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Bits of an entry in /proc/PID/pagemap (Documentation/admin-guide/mm/pagemap.rst of the kernel).
const (
	pagePresent = 1 << 63
	pageFrame   = 1<<55 - 1
)

// together is the memory that processes occupy, in MiB, each page once: guard and agent are one program, and a page of it
// that both have mapped is there only once. The sum of what each one is told to have resident would count it twice. It
// needs the right to see page frames: root's.
func together(pids ...int) (float64, error) {
	frames := map[uint64]bool{}
	for _, pid := range pids {
		if err := addFrames(frames, pid); err != nil {
			return 0, fmt.Errorf("memory of process %d: %w", pid, err)
		}
	}
	return float64(len(frames)*os.Getpagesize()) / (1 << 20), nil
}

func addFrames(frames map[uint64]bool, pid int) error {
	maps, err := os.Open(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return err
	}
	defer maps.Close()
	pages, err := os.Open(fmt.Sprintf("/proc/%d/pagemap", pid))
	if err != nil {
		return err
	}
	defer pages.Close()
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		var from, to uint64
		var perms string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &perms); err != nil {
			return err
		}
		if strings.HasPrefix(perms, "---") || strings.Contains(lines.Text(), "[v") { // reserved only; the kernel's own pages
			continue
		}
		size := uint64(os.Getpagesize())
		entries := make([]byte, (to-from)/size*8)
		if _, err := pages.ReadAt(entries, int64(from/size*8)); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		for ; len(entries) > 0; entries = entries[8:] {
			e := binary.LittleEndian.Uint64(entries)
			if e&pagePresent == 0 {
				continue
			}
			if e&pageFrame == 0 {
				return errors.New("page frames are hidden; be root")
			}
			frames[e&pageFrame] = true
		}
	}
	return lines.Err()
}
