package main

import (
	"context"
	"fmt"
	"os"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/demo"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/parts"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/playground"
)

// addPlayground plugs in the commands for a developer's machine.
func addPlayground(h *cli.Handlers) {
	h.PlaygroundUp = playgroundUp
	h.PlaygroundKill = func(ctx context.Context, inv *cli.Invocation, o cli.PlaygroundNode) error {
		return remote(inv, o.Dir, o.Output).Kill(ctx, o.Node)
	}
	h.PlaygroundStop = func(ctx context.Context, inv *cli.Invocation, o cli.PlaygroundNode) error {
		return remote(inv, o.Dir, o.Output).Stop(ctx, o.Node)
	}
	h.PlaygroundStart = func(ctx context.Context, inv *cli.Invocation, o cli.PlaygroundNode) error {
		return remote(inv, o.Dir, o.Output).Start(ctx, o.Node)
	}
	h.PlaygroundAdd = func(ctx context.Context, inv *cli.Invocation, o cli.PlaygroundAdd) error {
		return remote(inv, o.Dir, o.Output).Add(ctx, o.Count, o.Timeout)
	}
	h.PlaygroundDown = func(ctx context.Context, inv *cli.Invocation, o cli.PlaygroundDown) error {
		return remote(inv, o.Dir, o.Output).Down(ctx)
	}
	h.More = append(h.More,
		cli.Command{Name: "demo", Help: "Watch a real cluster fail over under write load.", Struct: &demo.Command{}},
		cli.Command{Name: "parts", Help: "Find or fetch a MySQL server and Consul.", Hidden: true, Struct: &parts.Command{}})
}

func remote(inv *cli.Invocation, dir string, o config.Output) playground.Remote {
	return playground.Remote{Dir: dir, Out: inv.Stdout, JSON: o.Output == "json"}
}

func playgroundUp(ctx context.Context, inv *cli.Invocation, o cli.PlaygroundUp) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	return playground.Up(ctx, playground.UpRequest{
		Options: playground.Options{
			Dir: o.Dir, Nodes: o.Nodes, Consul: o.Consul, Store: o.Store, Cluster: o.Cluster, Service: o.Service, Lease: o.Lease,
			Acks: o.Acks, RestartAfter: o.RestartAfter, Mysqld: o.Mysqld, ConsulBin: o.ConsulBin, Command: []string{exe, "run"},
			NodeArgs: append([]string{"--log-level", o.LogLevel}, o.NodeArgs...),
		},
		Detach: o.Detach, Supervised: os.Getenv(playground.SupervisedEnv) != "", Argv: append([]string{exe}, inv.Args...),
		Timeout: o.Timeout, JSON: o.Output.Output == "json", Stdout: inv.Stdout, Stderr: inv.Stderr,
	})
}
