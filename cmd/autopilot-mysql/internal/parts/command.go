package parts

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// Command is `autopilot-mysql parts`, for the Makefile and the end-to-end tests.
type Command struct {
	Mysqld    string `help:"MySQL server to use." placeholder:"PATH"`
	ConsulBin string `help:"Consul to use." placeholder:"PATH"`
	HAProxy   bool   `name:"haproxy" help:"Find an HAProxy too, for the tests."`
	Offline   bool   `help:"Fail instead of fetching."`
	Env       bool   `help:"Print KEY=value lines for the tests instead of JSON."`
}

// Help is the long text of `parts --help`.
func (*Command) Help() string { return "Example: autopilot-mysql parts --env" }

// Run finds the parts, prints where they are to standard output and the progress to standard error.
func (c *Command) Run(ctx context.Context, k *kong.Context) error {
	p, err := Find(ctx, Options{Mysqld: c.Mysqld, Consul: c.ConsulBin, HAProxy: c.HAProxy, Offline: c.Offline, Progress: k.Stderr})
	if err != nil {
		return err
	}
	if c.Env {
		_, err = fmt.Fprintln(k.Stdout, strings.Join(p.Env(), "\n"))
		return err
	}
	enc := json.NewEncoder(k.Stdout)
	enc.SetIndent("", "  ")
	return enc.Encode(p)
}
