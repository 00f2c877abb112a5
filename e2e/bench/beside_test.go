package bench

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBeside_compares_what_was_measured(t *testing.T) {
	ours, script := result{Name: "mysqld-killed"}, result{Name: "by-hand"}
	for _, v := range []float64{300, 100, 200} {
		ours.of("at clients through discovery", "ms").add(v)
		script.of("mysqld killed, detection free, at clients", "ms").add(2 * v)
	}
	require.Empty(t, beside([]result{script}), "nothing of ours")
	require.Empty(t, beside([]result{ours}), "nothing beside it")
	text := beside([]result{ours, script})
	require.Contains(t, text, "| mysqld killed, 8 clients, at clients | 200 ms | by-hand: mysqld killed, detection free, at clients | 400 ms | 0.50 |")
	require.NotContains(t, text, "group-replication")
}

func TestBooks_tell_what_became_of_the_writes(t *testing.T) {
	r := result{Name: "mysqld-killed", Notes: []string{"10 writes acknowledged, 2 got an error, 0 acknowledged ones lost", "something else"}}
	text := books([]result{r})
	require.Contains(t, text, "- mysqld-killed: 10 writes acknowledged, 2 got an error, 0 acknowledged ones lost\n")
	require.NotContains(t, text, "something else")
	require.Empty(t, books(nil))
}

func TestPromises(t *testing.T) {
	all := []result{{Name: "mysqld-killed", Series: []*series{{Name: "at clients through discovery", Unit: "ms", Target: 350, Values: []float64{300, 288, 400}}}}}
	text := promises(all, filepath.Join("..", "reports"))
	require.Contains(t, text, "| mysqld killed, agent alive | median ≤ 0.35 s | 300 ms | 400 | 3 | met |")
	require.Contains(t, text, "not measured", "the others")
	require.Regexp(t, `copying.*\| [0-9.]+ \|`, text)
	require.Regexp(t, `[0-9]+ violations in [0-9]+ campaigns of [0-9]+h`, text)
	names := map[string]bool{}
	for _, s := range scenarios() {
		names[s.name] = true
	}
	for _, line := range targets {
		for _, m := range line.by {
			require.True(t, names[m.scenario], m.scenario)
		}
	}
}
