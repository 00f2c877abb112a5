package config

import (
	"bufio"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

const (
	smallPool   = 64 * MiB  // of a playground's node
	leastPool   = 64 * MiB  // below it MySQL 9 spends its time evicting pages
	unknownPool = 128 * MiB // MySQL's own default, when the memory cannot be read
)

// deriveMemory gives InnoDB 70 % of what this container, or else this machine, may use.
func (r *resolver) deriveMemory(s *Settings) {
	limit := memoryLimit(os.DirFS("/"))
	switch {
	case s.BufferPool != 0:
		if limit > 0 && s.BufferPool > limit {
			r.warn(r.cite("buffer-pool") + " is more than the memory there is (" + limit.String() + ")")
		}
	case s.Small:
		s.BufferPool = smallPool
	default:
		s.BufferPool = poolFor(limit)
	}
}

func poolFor(limit Bytes) Bytes {
	if limit <= 0 {
		return unknownPool
	}
	return max(limit/10*7/MiB*MiB, leastPool)
}

// memoryLimit is the least of the cgroup's limit (v2 or v1, with its parents) and the machine's memory; 0 when unknown.
func memoryLimit(root fs.FS) Bytes {
	limit := memTotal(root)
	for _, file := range cgroupFiles(root) {
		data, err := fs.ReadFile(root, file)
		if err != nil {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
		if err == nil && n > 0 && (limit == 0 || Bytes(n) < limit) {
			limit = Bytes(n)
		}
	}
	return limit
}

// cgroupFiles names the files with a limit, from our own group up to the root of the hierarchy.
func cgroupFiles(root fs.FS) []string {
	files := []string{"sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"}
	data, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return files
	}
	for line := range strings.Lines(string(data)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 || parts[1] != "" && parts[1] != "memory" {
			continue
		}
		base, file := "sys/fs/cgroup", "memory.max"
		if parts[1] == "memory" {
			base, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		}
		for dir := path.Clean("/" + parts[2]); dir != "/"; dir = path.Dir(dir) {
			files = append(files, base+dir+"/"+file)
		}
	}
	return files
}

func memTotal(root fs.FS) Bytes {
	f, err := root.Open("proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close() //nolint:errcheck // only read
	for scan := bufio.NewScanner(f); scan.Scan(); {
		if rest, ok := strings.CutPrefix(scan.Text(), "MemTotal:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
			if err != nil {
				return 0
			}
			return Bytes(n) * KiB
		}
	}
	return 0
}
