package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
)

type configCmd struct {
	Show  showCmd  `cmd:"" help:"Settings in force, the cluster's included, and where each comes from."`
	Set   setCmd   `cmd:"" help:"Set values for the whole cluster."`
	Check checkCmd `cmd:"" help:"Check a node's settings; print each with its source. Secrets are masked."`
}

type checkCmd struct {
	config.Output
	config.Settings
}

// Help is the long text of `config check --help`.
func (*checkCmd) Help() string {
	return `Takes the flags of run, reads the same environment and file, and starts nothing. Exit code 2 when run would refuse.

Example: docker run --rm --env-file node.env IMAGE config check --output json`
}

// Run is called by kong.
func (c *checkCmd) Run(inv *Invocation) error {
	c.Extra = inv.extra
	report, err := inv.resolve(c, &c.Logging)
	var wrong *config.Error
	if err != nil && !errors.As(err, &wrong) {
		return err
	}
	found := []config.Problem{}
	if wrong != nil {
		found = wrong.Problems
	}
	return printed(inv, c.Output, report, found)
}

type showCmd struct {
	config.Output
	config.Settings
}

// Help is the long text of `config show --help`.
func (*showCmd) Help() string {
	return "Each setting with the value in force and where it comes from: default, file, environment, flag, or the whole cluster's value in Consul. Takes the flags of run. Exit code 2 when a value cannot be used; what only a node needs may be missing.\n\nExample: autopilot-mysql config show --cluster shop"
}

// Run is called by kong.
func (c *showCmd) Run(ctx context.Context, inv *Invocation) error {
	report, err := inv.resolve(c, &c.Logging)
	found, err := wrongAtAll(err)
	if err != nil {
		return err
	}
	if inv.handlers.Shared == nil {
		return missing("show settings")
	}
	values, err := inv.handlers.Shared(ctx, inv, &c.Common)
	switch {
	case err != nil && len(found) == 0:
		return err
	case err != nil: // perhaps because of what is wrong here: that is to be seen first
		found = append(found, config.Problem{Why: "the cluster-wide values are not shown: " + err.Error()})
	case len(found) == 0: // else the same would be said twice
		if _, err = config.WithShared(c.Settings, values); err != nil {
			found, err = wrongAtAll(err)
		}
		if err != nil {
			return err
		}
	}
	report.Overlay(values)
	return printed(inv, c.Output, report, found)
}

// wrongAtAll are the problems that are wrong also where no node runs. Another error than of settings is returned.
func wrongAtAll(err error) ([]config.Problem, error) {
	found := []config.Problem{}
	var wrong *config.Error
	if err == nil || !errors.As(err, &wrong) {
		return found, err
	}
	for _, p := range wrong.Problems {
		if !p.Absent {
			found = append(found, p)
		}
	}
	return found, nil
}

// printed shows the settings and what is wrong with them, which is the exit code too.
func printed(inv *Invocation, o config.Output, report *config.Report, found []config.Problem) error {
	show := printTable
	if o.Output == "json" {
		show = printJSON
	}
	if err := show(inv, report, found); err != nil {
		return fmt.Errorf("print settings: %w", err)
	}
	if len(found) > 0 {
		return ExitStatus(Usage)
	}
	return nil
}

func printJSON(inv *Invocation, report *config.Report, found []config.Problem) error {
	enc := json.NewEncoder(inv.Stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(struct {
		Settings []config.Value   `json:"settings"`
		Warnings []string         `json:"warnings"`
		Problems []config.Problem `json:"problems"`
	}{report.Values, report.Warnings, found})
}

// printTable writes the settings to stdout, and what is wrong with them to stderr, one line each.
func printTable(inv *Invocation, report *config.Report, found []config.Problem) error {
	w := tabwriter.NewWriter(inv.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tVALUE\tSOURCE")
	for _, v := range report.Values {
		value := v.Value
		if value == "" {
			value = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", v.Name, value, v.Source)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, line := range report.Warnings {
		fmt.Fprintln(inv.Stderr, oneLine("warning: "+line))
	}
	for _, p := range found {
		fmt.Fprintf(inv.Stderr, "%s: cannot use the settings: %s\n", Program, oneLine(p.String()))
	}
	return nil
}
