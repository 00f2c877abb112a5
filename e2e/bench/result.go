package bench

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// result is what one scenario has measured.
type result struct {
	Name    string    `json:"name"`
	Says    string    `json:"says"`
	At      time.Time `json:"at"`
	Took    string    `json:"took"`
	Commit  string    `json:"commit"`
	Machine machine   `json:"machine"`
	Foreign string    `json:"foreign"` // how quiet the machine was
	Series  []*series `json:"series"`
	Ratios  []ratio   `json:"ratios,omitempty"`
	Growth  []growth  `json:"growth,omitempty"`
	Every   float64   `json:"every,omitempty"` // seconds between two values, when they are samples over time
	Table   *grid     `json:"table,omitempty"`
	Notes   []string  `json:"notes,omitempty"`
}

// of finds or makes a series.
func (r *result) of(name, unit string) *series {
	for _, s := range r.Series {
		if s.Name == name {
			return s
		}
	}
	s := &series{Name: name, Unit: unit}
	r.Series = append(r.Series, s)
	return s
}

func (r *result) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// machine is what the numbers depend on.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	Kernel string `json:"kernel"`
	Speed  string `json:"speed,omitempty"`
	Disk   string `json:"disk"`
	MySQL  string `json:"mysql"`
	Consul string `json:"consul"`
}

func describe(mysqld, consul string) machine {
	m := machine{Cores: runtime.NumCPU(), CPU: field("/proc/cpuinfo", "model name"), Memory: field("/proc/meminfo", "MemTotal")}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(b))
	}
	m.Speed = fmt.Sprintf("sorting a million numbers: %.0f ms median", sortCost())
	m.Disk = fmt.Sprintf("write + fsync + rename + fsync of the directory: %.2f ms median", syncCost())
	m.MySQL, m.Consul = firstLine(mysqld, "--no-defaults", "--version"), firstLine(consul, "version")
	if i := strings.Index(m.MySQL, "Ver "); i >= 0 {
		m.MySQL = m.MySQL[i:]
	}
	return m
}

func (m machine) String() string {
	return fmt.Sprintf("%s, %d cores, %s memory, Linux %s; %s; %s; MySQL %s; %s", m.CPU, m.Cores, m.Memory, m.Kernel, cmp.Or(m.Speed, "its speed was not measured"), m.Disk, m.MySQL, m.Consul)
}

// sortCost tells fast machines from slow ones whose processors have the same name: the median of sorting the same million numbers, in
// milliseconds.
func sortCost() float64 {
	const numbers, times = 1_000_000, 5
	s := series{}
	for range times {
		r := rand.New(rand.NewPCG(1, 2)) // always the same
		all := make([]uint64, numbers)
		for i := range all {
			all[i] = r.Uint64()
		}
		began := time.Now()
		slices.Sort(all)
		s.took(time.Since(began))
	}
	return s.median()
}

// field is the first value of a key in one of the kernel's lists.
func field(path, key string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "?"
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return "?"
}

func firstLine(program string, args ...string) string {
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		return "?"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}

// syncCost is the median of making a small file durable, in milliseconds.
func syncCost() float64 {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return -1
	}
	defer os.RemoveAll(dir)
	var s series
	for range 30 {
		began := time.Now()
		f, err := os.Create(filepath.Join(dir, "a"))
		if err != nil {
			return -1
		}
		_, _ = f.Write(make([]byte, 800))
		_ = f.Sync()
		_ = f.Close()
		_ = os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "b"))
		if d, err := os.Open(dir); err == nil {
			_ = d.Sync()
			_ = d.Close()
		}
		s.took(time.Since(began))
	}
	return s.median()
}

// save leaves the result as JSON, and the report and the plots that follow from all results there are.
func (r *result) save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, r.Name+".json"), append(b, '\n'), 0o644)
}

// keep saves what there is so far, should what follows break everything.
func (r *result) keep(dir string) error {
	so := *r
	so.Took, so.Foreign = "what it had when it was broken off", "how quiet the machine was is not known"
	return so.save(dir)
}

// results reads what there is, in the order of names.
func results(dir string, names []string) []result {
	var all []result
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(dir, name+".json"))
		if err != nil {
			continue
		}
		var r result
		if json.Unmarshal(b, &r) == nil {
			all = append(all, r)
		}
	}
	return all
}
