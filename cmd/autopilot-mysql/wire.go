package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/guard"
	"github.com/autopilot-mysql/autopilot-mysql/engine"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// handlers is what the commands do.
func handlers() cli.Handlers {
	h := cli.Handlers{Version: version, Run: run, Agent: runAgent, Status: status, FSM: fsm, SnapshotHandlers: snapshotHandlers()}
	addOperations(&h)
	addPlayground(&h)
	h.More = append(h.More, cli.Command{Name: "healthcheck", Help: "Ask the node in this container how it is (the image's health check).", Struct: &healthcheck{}})
	return h
}

// run turns this process into the guard, with the agent as its child.
func run(ctx context.Context, inv *cli.Invocation, s *config.Settings) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	return cli.ExitStatus(guard.Run(ctx, guard.Options{
		Agent: append([]string{exe}, inv.AgentArgs()...), StopTimeout: s.StopTimeout, Stderr: inv.Stderr,
	}))
}

// fsm prints or checks the declared machine.
func fsm(_ context.Context, inv *cli.Invocation, o cli.FSM) error {
	if !o.Check {
		return engine.Write(inv.Stdout, o.Format, roles.Table())
	}
	return checkTable(inv.Stdout, engine.Check(roles.Table()), o.Output.Output == "json")
}

// checkTable prints what was found wrong with the table, and fails if there is anything.
func checkTable(w io.Writer, found []engine.Problem, asJSON bool) (err error) {
	switch {
	case asJSON:
		err = writeJSON(w, struct {
			Sound    bool             `json:"sound"`
			Problems []engine.Problem `json:"problems"`
		}{len(found) == 0, append([]engine.Problem{}, found...)})
	case len(found) == 0:
		_, err = fmt.Fprintln(w, "the table is sound: no duplicate, unknown, unreachable or forgotten entry")
	}
	for _, p := range found {
		if !asJSON {
			fmt.Fprintln(w, p)
		}
	}
	if err == nil && len(found) > 0 {
		err = &cli.Error{What: "check state machine", Why: fmt.Sprintf("%d problems", len(found)), Next: "correct roles/table.go"}
	}
	return err
}
