package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/engine"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

func call(t *testing.T, args ...string) (int, string, string) {
	t.Helper()
	var out, errs bytes.Buffer
	code := cli.Main(t.Context(), args, nil, strings.NewReader(""), &out, &errs, handlers())
	return code, out.String(), errs.String()
}

// TestFSM proves that the command line offers exactly the engine's formats, and that the shipped table passes its check.
func TestFSM(t *testing.T) {
	for _, format := range engine.Formats() {
		code, out, errs := call(t, "fsm", "--format", format)
		require.Zero(t, code, errs)
		require.Contains(t, out, "restore-snapshot", format)
	}
	_, _, errs := call(t, "fsm", "--format", "none")
	require.Contains(t, errs, `"`+strings.Join(engine.Formats(), `","`)+`"`)
	code, out, _ := call(t, "fsm", "--check")
	require.Zero(t, code, out)
	code, out, _ = call(t, "fsm", "--check", "-o", "json")
	require.Zero(t, code)
	require.JSONEq(t, `{"sound": true, "problems": []}`, out)
	_, table, _ := call(t, "fsm", "--format", "json")
	_, out, _ = call(t, "fsm", "--output", "json")
	require.Equal(t, table, out)
}

// TestMoreCommandsHaveAnExample is about the commands that the command line gets from elsewhere.
func TestMoreCommandsHaveAnExample(t *testing.T) {
	for _, c := range handlers().More {
		code, out, errs := call(t, c.Name, "--help")
		require.Zero(t, code, errs)
		require.Contains(t, out, "Example: autopilot-mysql "+c.Name)
	}
}

// TestAdviceNamesCommandsThatExist reads what the program tells operators to type.
func TestAdviceNamesCommandsThatExist(t *testing.T) {
	advice := regexp.MustCompile("autopilot-mysql ((?:config |playground )?[a-z]+)")
	found := map[string]string{}
	for _, dir := range []string{"../../roles", "internal", ".", "../../docs", "../../README.md"} {
		require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || strings.HasSuffix(path, "_test.go") || !strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, ".md") {
				return err
			}
			text, err := os.ReadFile(path)
			for line := range strings.Lines(string(text)) {
				if strings.HasPrefix(strings.TrimSpace(line), "//") || strings.Contains(line, "Name:") { // prose, and the machine's own name
					continue
				}
				for _, m := range advice.FindAllStringSubmatch(line, -1) {
					found[m[1]] = path
				}
			}
			return err
		}))
	}
	require.Greater(t, len(found), 5)
	for command, path := range found {
		code, _, errs := call(t, append(strings.Fields(command), "--help")...)
		require.Zerof(t, code, "%s says: autopilot-mysql %s: %s", path, command, errs)
	}
}

// TestEveryGuardIsExplained: whoever is refused finds the guard's name in the operations guide.
func TestEveryGuardIsExplained(t *testing.T) {
	guide, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	for _, guard := range roles.Guards() {
		require.Contains(t, string(guide), "| `"+guard+"` |")
	}
}

func TestRunRefusesBadSettingsBeforeAnythingStarts(t *testing.T) {
	code, _, errs := call(t, "run", "--bind", "127.0.0.1")
	require.Equal(t, cli.Usage, code)
	require.Equal(t, "autopilot-mysql: cannot use the settings: the cluster's own accounts have no password; "+
		"set MYSQL_REPL_PASSWORD or MYSQL_REPL_PASSWORD_FILE, the same on every node\n", errs)
}

// TestABadTableFailsTheCheck: what `fsm --check` says and how it ends when the table is wrong.
func TestABadTableFailsTheCheck(t *testing.T) {
	broken := roles.Table()
	broken.Rules = broken.Rules[1:]
	var out strings.Builder
	err := checkTable(&out, engine.Check(broken), false)
	require.ErrorContains(t, err, "check state machine")
	require.NotEmpty(t, out.String())

	out.Reset()
	require.NoError(t, checkTable(&out, engine.Check(roles.Table()), false))
	require.Contains(t, out.String(), "the table is sound")

	out.Reset()
	require.Error(t, checkTable(&out, engine.Check(broken), true))
	var found struct {
		Sound    bool
		Problems []struct{ Where, What string }
	}
	require.NoError(t, json.Unmarshal([]byte(out.String()), &found))
	require.False(t, found.Sound)
	require.NotEmpty(t, found.Problems[0].What)
}
