package bench

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReport_says_median_spread_and_target(t *testing.T) {
	dir := t.TempDir()
	r := &result{Name: "a-fault", Says: "something <breaks>", At: time.Unix(0, 0).UTC(), Commit: "abc", Foreign: "quiet"}
	s := r.of("at clients through discovery", "ms")
	s.Target = 30
	for _, v := range []float64{50, 10, 20} {
		s.add(v)
	}
	r.of("throughput", "%").add(98)
	r.of("throughput", "%").Target, r.of("throughput", "%").AtLeast = 99, true
	r.Ratios = append(r.Ratios, compare("writes", []float64{100, 101}, []float64{100, 101}))
	r.Table = &grid{Head: []string{"clusters", "CPU"}, Rows: [][]string{{"10", "3 %"}}}
	require.NoError(t, r.save(dir))
	require.NoError(t, report(dir, []string{"missing", "a-fault"}))
	text, err := os.ReadFile(filepath.Join(dir, "README.md"))
	require.NoError(t, err)
	require.Contains(t, string(text), "| at clients through discovery | 20 | 10 | 50 | 3 | ms | ≤ 30 met |")
	require.Contains(t, string(text), "| throughput | 98 | 98 | 98 | 1 | % | ≥ 99 **missed** |")
	require.Contains(t, string(text), "- writes: 1.0000 (95 % interval 1.0000 to 1.0000, 2 pairs): at least 0.99 is shown")
	require.Contains(t, string(text), "\n| clusters | CPU |\n|---|---|\n| 10 | 3 % |\n")

	short := filepath.Join(dir, "short.md")
	require.NoError(t, digest(short, dir, []string{"a-fault"}, guide()))
	text, err = os.ReadFile(short)
	require.NoError(t, err)
	require.Contains(t, string(text), "| a-fault | at clients through discovery | 20 ms | 10 to 50 | 3 | ≤ 30, met |")

	require.Contains(t, string(text), "| `make bench NAME='soak$$'` |")

	picture, err := os.ReadFile(filepath.Join(dir, "a-fault.svg"))
	require.NoError(t, err)
	require.Equal(t, 3, strings.Count(string(picture), "<circle"))
	for d := xml.NewDecoder(strings.NewReader(string(picture))); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else {
			require.NoError(t, err)
		}
	}
}

func TestPlot_is_never_empty(t *testing.T) {
	r := result{Name: "a"}
	r.of("took", "s").add(3)
	r.of("CPU of one", "% of a core").add(1)
	r.of("CPU of another", "% of a core").add(2)
	require.Equal(t, 2, strings.Count(plot(r), "<circle"), "what most series have")
	require.Contains(t, plot(r), "a: % of a core, each run a dot")
	r.of("gap", "ms").add(20)
	require.Equal(t, 1, strings.Count(plot(r), "<circle"), "milliseconds, if there are any")
}

func TestMachines_are_told_apart(t *testing.T) {
	one, two := machine{CPU: "X", Cores: 2, Kernel: "6.1", Disk: "0.7 ms"}, machine{CPU: "X", Cores: 2, Kernel: "6.2"}
	again := one
	again.Disk, again.Speed = "0.8 ms", "90 ms" // measured every time
	all := []result{{Name: "a", Machine: one}, {Name: "b", Machine: again}}
	require.Equal(t, fmt.Sprintf("\nMachine: %s.\n", one), machines(all))
	text := machines(append(all, result{Name: "c", Machine: two}))
	require.Contains(t, text, fmt.Sprintf("\n- %s: a, b\n- %s: c\n", one, two))
}

func TestLongest_tells_discovery_from_the_servers(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(1000, int64(ms)*int64(time.Millisecond)) }
	f := &fleet{acks: []ack{{id: 1, at: at(0), from: "a"}, {id: 2, at: at(5), from: "a"}, {id: 3, at: at(25), from: "b", knocks: true}, {id: 4, at: at(60), from: "b"}, {id: 5, at: at(61), from: "b"}}}
	g := f.longest(at(5))
	require.Equal(t, 20*time.Millisecond, g.Servers)
	require.Equal(t, 55*time.Millisecond, g.Client)
	require.Equal(t, at(60), g.Found)
}

func TestPause_stops_the_clients_until_they_may_go_on(t *testing.T) {
	f := &fleet{}
	require.Nil(t, f.gate())
	f.pause()
	f.pause()
	held := f.gate()
	require.NotNil(t, held)
	f.resume()
	f.resume()
	require.Nil(t, f.gate())
	<-held
}
