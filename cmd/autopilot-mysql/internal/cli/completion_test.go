package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// completionScript writes a shell's script to a file.
func completionScript(t *testing.T, shell string) string {
	t.Helper()
	code, out, errs := call(t, Handlers{}, nil, "completion", shell)
	require.Zero(t, code, errs)
	path := filepath.Join(t.TempDir(), "completion."+shell)
	require.NoError(t, os.WriteFile(path, []byte(out), 0o600))
	return path
}

// shell finds one, or passes the test over: only bash is everywhere.
func shell(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skip(name + " is not installed")
	}
	return path
}

// said runs a shell and returns the words it prints.
func said(t *testing.T, name string, args ...string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	require.NoError(t, err, string(out))
	return strings.Fields(string(out))
}

// typed is what stands in front of the cursor, and what is offered there and what not.
type typed struct {
	line         string
	offered, not []string
}

func lines() []typed {
	return []typed{
		{"autopilot-mysql sw", []string{"switchover"}, []string{"status", "snapshot"}},
		{"autopilot-mysql ", []string{"run", "status", "switchover", "snapshot", "config", "playground"}, []string{"agent", "list"}},
		{"autopilot-mysql snapshot l", []string{"list"}, []string{"verify", "status"}},
		{"autopilot-mysql config set --d", []string{"--dry-run"}, []string{"--datadir", "--store"}},
		{"autopilot-mysql switchover --to db2 --t", []string{"--to", "--timeout"}, []string{"--cluster"}},
		{"autopilot-mysql snapshot restore --to-", []string{"--to-time", "--to-gtid"}, []string{"--to"}},
		{"autopilot-mysql playground --no", []string{"--nodes"}, nil},
		{"autopilot-mysql playground --nodes 5 k", []string{"kill"}, nil},
		{"autopilot-mysql rebuild db3 --fo", []string{"--force"}, nil},
		{"autopilot-mysql completion ", []string{"bash", "zsh", "fish"}, nil},
	}
}

// holds compares what a shell offers.
func (c typed) holds(t *testing.T, got []string) {
	t.Helper()
	for _, word := range c.offered {
		require.Contains(t, got, word, c.line)
	}
	for _, word := range c.not {
		require.NotContains(t, got, word, c.line)
	}
}

func TestCompletionInBash(t *testing.T) {
	bash, script := shell(t, "bash"), completionScript(t, "bash")
	// The function is the one that bash itself would call, with what bash would set.
	const ask = `source "$1" || exit; f=$(complete -p autopilot-mysql) || exit; f=${f#* -F }; f=${f%% *}
line=$2; read -ra COMP_WORDS <<<"$line"; [[ $line == *' ' ]] && COMP_WORDS+=('')
COMP_LINE=$line COMP_POINT=${#line} COMP_CWORD=$((${#COMP_WORDS[@]}-1)); "$f"; printf '%s\n' "${COMPREPLY[@]}"`
	for _, c := range lines() {
		c.holds(t, said(t, bash, "--norc", "-c", ask, "bash", script, c.line))
	}
}

func TestCompletionInFish(t *testing.T) {
	fish, script := shell(t, "fish"), completionScript(t, "fish")
	for _, c := range lines() {
		c.holds(t, said(t, fish, "--no-config", "-c", `source $argv[1]; complete -C $argv[2]`, script, c.line))
	}
}

// TestCompletionInZsh: what bashcompinit asks for at a terminal is asked without one.
func TestCompletionInZsh(t *testing.T) {
	zsh, script := shell(t, "zsh"), completionScript(t, "zsh")
	const ask = `autoload -U compinit && compinit -D && source "$1" || exit
[[ $_comps[autopilot-mysql] == *_autopilot_mysql* ]] || { print -r -- "registered: $_comps[autopilot-mysql]"; exit 1; }
line=$2; COMP_WORDS=(${(z)line}); [[ $line == *' ' ]] && COMP_WORDS+=('')
COMP_LINE=$line COMP_POINT=${#line} COMP_CWORD=$((${#COMP_WORDS}-1)); compgen -F _autopilot_mysql -- "$COMP_WORDS[-1]"`
	for _, c := range lines() {
		begun := c.line[strings.LastIndexByte(c.line, ' ')+1:] // zsh itself leaves out what does not begin so
		got := slices.DeleteFunc(said(t, zsh, "-f", "-c", ask, "zsh", script, c.line), func(word string) bool { return !strings.HasPrefix(word, begun) })
		c.holds(t, got)
	}
}
