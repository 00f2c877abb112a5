package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// call runs Main and returns exit code, standard output and standard error.
func call(t *testing.T, h Handlers, environ []string, args ...string) (int, string, string) {
	t.Helper()
	var out, err bytes.Buffer
	code := Main(t.Context(), args, environ, strings.NewReader(""), &out, &err, h)
	return code, out.String(), err.String()
}

var node = []string{"MYSQL_REPL_PASSWORD=repl", "AUTOPILOT_BIND=127.0.0.1"}

func TestGoldenHelp(t *testing.T) {
	t.Setenv("COLUMNS", "")
	for file, args := range map[string][]string{
		"help.txt": {"--help"}, "run-help.txt": {"run", "--help"}, "playground-up-help.txt": {"playground", "up", "--help"},
	} {
		code, out, errs := call(t, Handlers{}, nil, args...)
		require.Zero(t, code)
		require.Empty(t, errs)
		path := "testdata/" + file
		if *update {
			require.NoError(t, os.MkdirAll("testdata", 0o755))
			require.NoError(t, os.WriteFile(path, []byte(out), 0o644))
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(want), out, "go test -update rewrites %s", path)
	}
}

func TestEveryCommandHasHelpAndAnExample(t *testing.T) {
	for _, command := range []string{
		"run", "playground", "playground up", "playground kill", "playground stop", "playground start", "playground add",
		"playground down", "status", "fsm", "config check", "version", "switchover", "failover", "pause", "resume", "rebuild", "remove",
		"history", "config show", "config set", "completion",
		"snapshot create", "snapshot list", "snapshot verify", "snapshot restore", "snapshot prune",
	} {
		code, out, errs := call(t, Handlers{}, nil, append(strings.Fields(command), "--help")...)
		require.Zero(t, code, command)
		require.Empty(t, errs, command)
		require.Contains(t, out, "Example: ", command)
	}
}

func TestUsageErrorsAreOneLineAndExit2(t *testing.T) {
	const prefix = "autopilot-mysql: cannot read the command line: "
	for args, want := range map[string]string{
		"":                      "no command given; see autopilot-mysql --help",
		"--cluster x run":       `unknown flag --cluster; see autopilot-mysql --help`,
		"run --lesae 3s":        `unknown flag --lesae, did you mean "--lease"?; see autopilot-mysql run --help`,
		"run word":              "unexpected argument word; see autopilot-mysql run --help",
		"run --repl-password x": `unknown flag --repl-password, did you mean "--repl-password-file"?; see autopilot-mysql run --help`,
		"playground kill":       `expected "<node>"; see autopilot-mysql playground kill --help`,
		"playground --nodes=-1": "numbers and times must not be negative; see autopilot-mysql playground up --help",
		"playground add 0":      "at least one node is added, and --timeout is positive; see autopilot-mysql playground add --help",
		"playground add many":   `[<count>]: expected a valid 64 bit int but got "many"; see autopilot-mysql playground add --help`,
		"fsm --format x":        `--format must be one of "table","mermaid","dot","json" but got "x"; see autopilot-mysql fsm --help`,
		"status -- x":           "autopilot-mysql status takes nothing after --",
		"failower":              `unexpected argument failower, did you mean "failover"?; see autopilot-mysql --help`,
		"rebuild":               `expected "<node>"; see autopilot-mysql rebuild --help`,
		"remove":                `expected "<node>"; see autopilot-mysql remove --help`,
		"config set":            `expected "<key=value> ..."; see autopilot-mysql config set --help`,
		"completion ksh":        `<shell> must be one of "bash","zsh","fish" but got "ksh"; see autopilot-mysql completion --help`,
	} {
		code, out, errs := call(t, Handlers{}, node, strings.Fields(args)...)
		require.Equal(t, Usage, code, args)
		require.Empty(t, out, args)
		require.Equal(t, prefix+want+"\n", errs, args)
	}
	for _, args := range [][]string{{"pause", ""}, {"resume", ""}, {"rebuild", ""}, {"remove", ""}} { // "$NODE" with no NODE
		code, _, errs := call(t, Handlers{}, node, args...)
		require.Equal(t, Usage, code, args)
		require.Equal(t, prefix+"<node> is empty; was a variable not set?\n", errs, args)
	}
}

func TestSettingsErrorsAreOneLineAndExit2(t *testing.T) {
	for _, command := range []string{"run", "agent", "status", "playground up", "switchover", "failover", "pause", "resume", "rebuild n", "remove n", "history", "config set acks=1"} {
		code, out, errs := call(t, Handlers{}, append([]string{"AUTOPILOT_LAESE=3s"}, node...), strings.Fields(command)...)
		require.Equal(t, Usage, code, command)
		require.Empty(t, out, command)
		require.Equal(t, "autopilot-mysql: cannot use the settings: unknown variable AUTOPILOT_LAESE (did you mean AUTOPILOT_LEASE?); correct the name or unset it\n", errs, command)
	}
}

func TestErrorsBecomeOneLineAndACode(t *testing.T) {
	cause := errors.New("first\n  second\n") //nolint:revive // that is the point
	for _, c := range []struct {
		err  error
		code int
		line string
	}{
		{nil, 0, ""},
		{ExitStatus(137), 137, ""},
		{fmt.Errorf("run node: %w", ExitStatus(7)), 7, ""},
		{&Error{What: "switch over", Node: "db1", Why: "it lags", Next: "wait"}, 1, "switch over (db1): it lags; wait"},
		{&Error{Code: Refused, What: "fail over", Why: "db2 holds more"}, 3, "fail over: db2 holds more"},
		{fmt.Errorf("status: %w", &Error{Code: Unknown, What: "x", Err: cause}), 4, "status: x: first second"},
		{cause, 1, "first second"},
		{context.Canceled, 1, "interrupted"},
		{&config.Error{Problems: []config.Problem{{Why: "a", Next: "b"}}}, 2, "cannot use the settings: a; b"},
	} {
		h := Handlers{FSM: func(context.Context, *Invocation, FSM) error { return c.err }}
		code, out, errs := call(t, h, nil, "fsm")
		require.Equal(t, c.code, code)
		require.Empty(t, out)
		if c.line != "" {
			c.line = "autopilot-mysql: " + c.line + "\n"
		}
		require.Equal(t, c.line, errs)
	}
	require.ErrorIs(t, &Error{Err: cause}, cause)
}

func TestPanicIsOneLine(t *testing.T) {
	h := Handlers{FSM: func(context.Context, *Invocation, FSM) error {
		var m map[string]int
		m["x"] = 1 //nolint:staticcheck // that is the point
		return nil
	}}
	code, _, errs := call(t, h, nil, "fsm")
	require.Equal(t, Failed, code)
	require.Regexp(t, `^autopilot-mysql: internal error: assignment to entry in nil map at cli_test.go:\d+; please report this line\n$`, errs)
}

func TestRunAndAgentSeeTheSameSettings(t *testing.T) {
	var seen []*config.Settings
	var agentArgs []string
	h := Handlers{
		Run: func(_ context.Context, inv *Invocation, s *config.Settings) error {
			seen, agentArgs = append(seen, s), inv.AgentArgs()
			return nil
		},
		Agent: func(_ context.Context, _ *Invocation, s *config.Settings) error {
			seen = append(seen, s)
			return nil
		},
	}
	environ := append([]string{"AUTOPILOT_LEASE=5s", "SESSION_TTL=9"}, node...)
	code, _, errs := call(t, h, environ, "run", "--acks", "2", "--name", "run", "--", "--max-connections=7", "--", "-v")
	require.Zero(t, code)
	require.Contains(t, errs, "SESSION_TTL is ignored")
	require.Equal(t, []string{"agent", "--acks", "2", "--name", "run", "--", "--max-connections=7", "--", "-v"}, agentArgs)
	code, _, errs = call(t, h, environ, agentArgs...)
	require.Zero(t, code)
	require.Empty(t, errs, "run has warned already")
	require.Equal(t, seen[0], seen[1])
	require.Equal(t, 5*time.Second, seen[0].Lease)
	require.Equal(t, 2, seen[0].Acks)
	require.Equal(t, []string{"--max-connections=7", "--", "-v"}, seen[0].Extra)
}

func TestPlaygroundCommands(t *testing.T) {
	var got []any
	keep := func(o any) error { got = append(got, o); return nil }
	h := Handlers{
		PlaygroundUp:    func(_ context.Context, _ *Invocation, o PlaygroundUp) error { return keep(o) },
		PlaygroundKill:  func(_ context.Context, _ *Invocation, o PlaygroundNode) error { return keep(o) },
		PlaygroundStop:  func(_ context.Context, _ *Invocation, o PlaygroundNode) error { return keep(o) },
		PlaygroundStart: func(_ context.Context, _ *Invocation, o PlaygroundNode) error { return keep(o) },
		PlaygroundAdd:   func(_ context.Context, _ *Invocation, o PlaygroundAdd) error { return keep(o) },
		PlaygroundDown:  func(_ context.Context, _ *Invocation, o PlaygroundDown) error { return keep(o) },
	}
	never := time.Duration(0)
	logging := config.Logging{LogLevel: "info", LogFormat: "auto"}
	form := config.Output{Output: "table"}
	n := PlaygroundNode{Node: "n1", PlaygroundDown: PlaygroundDown{Dir: "D", Output: form}}
	for args, want := range map[string]any{
		"playground":                         PlaygroundUp{Logging: logging, Output: form, Timeout: 3 * time.Minute},
		"playground --nodes 5 -d --dir D":    PlaygroundUp{Nodes: 5, Detach: true, Dir: "D", Logging: logging, Output: form, Timeout: 3 * time.Minute},
		"playground up --restart-after 0":    PlaygroundUp{RestartAfter: &never, Logging: logging, Output: form, Timeout: 3 * time.Minute},
		"playground up --lease 1s --acks 2":  PlaygroundUp{Lease: time.Second, Acks: 2, Logging: logging, Output: form, Timeout: 3 * time.Minute},
		"playground up --consul a --store b": PlaygroundUp{Consul: "a", Store: "b", Logging: logging, Output: form, Timeout: 3 * time.Minute},
		"playground up -- --policy strict":   PlaygroundUp{NodeArgs: []string{"--policy", "strict"}, Logging: logging, Output: form, Timeout: 3 * time.Minute},
		"playground kill n1 --dir D":         n,
		"playground stop --dir D n1":         n,
		"playground start n1 --dir=D":        n,
		"playground add --dir D":             PlaygroundAdd{Count: 1, Timeout: 3 * time.Minute, PlaygroundDown: PlaygroundDown{Dir: "D", Output: form}},
		"playground add 3":                   PlaygroundAdd{Count: 3, Timeout: 3 * time.Minute, PlaygroundDown: PlaygroundDown{Output: form}},
		"playground add 2 --timeout 6m":      PlaygroundAdd{Count: 2, Timeout: 6 * time.Minute, PlaygroundDown: PlaygroundDown{Output: form}},
		"playground down --dir D":            PlaygroundDown{Dir: "D", Output: form},
		"playground kill n1 -o json":         PlaygroundNode{Node: "n1", PlaygroundDown: PlaygroundDown{Output: config.Output{Output: "json"}}},
	} {
		got = nil
		// The environment's cluster must not leak into a playground.
		code, _, errs := call(t, h, []string{"CONSUL_HTTP_ADDR=real:8500", "AUTOPILOT_STORE=s3://real", "AUTOPILOT_LEASE=9s"}, strings.Fields(args)...)
		require.Zero(t, code, "%s: %s", args, errs)
		require.Equal(t, []any{want}, got, args)
	}
}

func TestStatusTakesTheCommonSettings(t *testing.T) {
	h := Handlers{Status: func(_ context.Context, _ *Invocation, o Status) error {
		require.True(t, o.Watch)
		require.Equal(t, "json", o.Output.Output)
		require.Equal(t, []string{"https://c:8500"}, o.Consul)
		require.Equal(t, "shop", o.Cluster)
		return nil
	}}
	code, _, errs := call(t, h, []string{"CONSUL=c", "CONSUL_CACERT=/ca", "AUTOPILOT_OUTPUT=json"}, "status", "--watch", "--cluster", "shop")
	require.Zero(t, code, errs)
}

func TestConfigCheck(t *testing.T) {
	environ := append([]string{"MYSQL_ROOT_PASSWORD=hush", "SESSION_TTL=25"}, node...)
	code, out, errs := call(t, Handlers{}, environ, "config", "check", "--lease", "5s")
	require.Zero(t, code)
	require.Equal(t, "warning: SESSION_TTL is ignored: AUTOPILOT_LEASE decides how long a silent primary keeps its role\n", errs)
	require.Regexp(t, `(?m)^lease +5s +flag --lease$`, out)
	require.Regexp(t, `(?m)^mysql-root-password +\*\*\* +environment MYSQL_ROOT_PASSWORD$`, out)
	require.Regexp(t, `(?m)^acks +1 +default$`, out)
	require.NotContains(t, out, "hush")

	code, out, errs = call(t, Handlers{}, environ, "config", "check", "--output", "json", "--acks", "0", "--port", "0", "--advertise-port", "1")
	require.Equal(t, Usage, code)
	require.Empty(t, errs)
	var got struct {
		Settings []config.Value
		Warnings []string
		Problems []config.Problem
	}
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	require.Contains(t, got.Settings, config.Value{Name: "acks", Value: "0", Source: "flag --acks"})
	require.Len(t, got.Warnings, 1)
	require.Len(t, got.Problems, 2)

	code, _, errs = call(t, Handlers{}, environ, "config", "check", "--acks", "0", "--", "--port=1")
	require.Equal(t, Usage, code)
	require.Equal(t, 2, strings.Count(errs, "autopilot-mysql: cannot use the settings: "), errs)
}

func TestVersion(t *testing.T) {
	code, out, _ := call(t, Handlers{Version: "v1.2.3"}, nil, "version")
	require.Zero(t, code)
	require.Regexp(t, `^autopilot-mysql v1\.2\.3 \(go.*\)\nMySQL: 8\.4 and later, tested with 9\.7\n$`, out)
	_, out, _ = call(t, Handlers{}, nil, "version", "-o", "json")
	require.Contains(t, out, `"mysql_tested":"9.7"`)
}

type extraCommand struct {
	Loud bool `help:"Louder."`
}

func (c *extraCommand) Run(ctx context.Context, inv *Invocation) error {
	_, err := fmt.Fprintln(inv.Stdout, c.Loud, ctx.Err())
	return err
}

func TestMoreCommands(t *testing.T) {
	h := Handlers{More: []Command{{Name: "parts", Help: "Find parts.", Hidden: true, Struct: &extraCommand{}}}}
	code, out, errs := call(t, h, nil, "parts", "--loud")
	require.Zero(t, code, errs)
	require.Equal(t, "true <nil>\n", out)
	_, out, _ = call(t, h, nil, "--help")
	require.NotContains(t, out, "parts")
}

func TestLogger(t *testing.T) {
	for _, c := range []struct{ level, format, want string }{
		{"info", "auto", `"msg":"shown"`}, {"info", "json", `"msg":"shown"`}, {"info", "text", "msg=shown"}, {"warn", "text", ""},
	} {
		var b bytes.Buffer
		NewLogger(&b, c.level, c.format).Info("shown")
		if c.want == "" {
			require.Empty(t, b.String())
		}
		require.Contains(t, b.String(), c.want)
	}
}

// TestConfigShowTellsWhatIsWrong: the settings are shown all the same, each error is a line, and the exit code is the one
// of config check. What only a node needs may be missing where an operator looks.
func TestConfigShowTellsWhatIsWrong(t *testing.T) {
	shared, reached := map[string]string{}, error(nil)
	h := Handlers{Shared: func(context.Context, *Invocation, *config.Common) (map[string]string, error) { return shared, reached }}
	bind := []string{"AUTOPILOT_BIND=127.0.0.1"}
	code, out, errs := call(t, h, bind, "config", "show")
	require.Zero(t, code, errs)
	require.Empty(t, errs)
	require.Regexp(t, `(?m)^acks +1 +default$`, out)

	code, out, errs = call(t, h, bind, "config", "show", "--acks", "0", "--port", "0", "--advertise-port", "1")
	require.Equal(t, Usage, code)
	require.Regexp(t, `(?m)^acks +0 +flag --acks$`, out)
	require.Equal(t, 2, strings.Count(errs, "\n"), errs)
	require.Equal(t, 2, strings.Count(errs, "autopilot-mysql: cannot use the settings: --"), errs)

	code, out, errs = call(t, h, bind, "config", "show", "--acks", "0", "-o", "json")
	require.Equal(t, Usage, code)
	require.Empty(t, errs)
	require.Contains(t, out, "--acks 0 (flag --acks) is out of range")

	shared = map[string]string{"max-ackers": "1"}
	code, out, errs = call(t, h, bind, "config", "show", "--acks", "3")
	require.Equal(t, Usage, code, "the cluster's values and the node's own contradict each other")
	require.Regexp(t, `(?m)^max-ackers +1 +cluster$`, out)
	require.Equal(t, 1, strings.Count(errs, "\n"), errs)
	require.Contains(t, errs, "is more than")

	shared, reached = nil, &Error{What: "read cluster-wide settings", Why: "connection refused"}
	code, out, errs = call(t, h, bind, "config", "show")
	require.Equal(t, Failed, code)
	require.Empty(t, out)
	require.Contains(t, errs, "connection refused")
	code, out, errs = call(t, h, bind, "config", "show", "--consul", "ftp://x")
	require.Equal(t, Usage, code)
	require.Contains(t, out, "acks")
	require.Contains(t, errs, "unknown scheme")
	require.Contains(t, errs, "the cluster-wide values are not shown: read cluster-wide settings: connection refused")
}

// TestOrdersToTheClusterTakeTheSameFlags: all wait or do not, can be tried, and refuse a time that is none.
func TestOrdersToTheClusterTakeTheSameFlags(t *testing.T) {
	h := Handlers{SnapshotHandlers: SnapshotHandlers{SnapshotCreate: func(_ context.Context, _ *Invocation, o SnapshotCreate) error {
		require.False(t, o.Wait)
		require.True(t, o.DryRun)
		return nil
	}}}
	code, _, errs := call(t, h, nil, "snapshot", "create", "--no-wait", "--dry-run")
	require.Zero(t, code, errs)
	for _, command := range []string{"switchover", "failover", "pause n", "rebuild n", "remove n", "snapshot create"} {
		code, out, errs := call(t, Handlers{}, nil, append(strings.Fields(command), "--timeout", "0")...)
		require.Equal(t, Usage, code, command)
		require.Empty(t, out)
		require.Contains(t, errs, "--timeout 0s is not positive; use a duration like 30s", command)
		code, _, errs = call(t, Handlers{}, nil, append(strings.Fields(command), "--no-wait", "--dry-run")...)
		require.Equal(t, Failed, code, "%s: %s", command, errs)
		require.Contains(t, errs, "this build does not have it", command)
	}
}
