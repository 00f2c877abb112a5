package cli

import (
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
	if c.Output.Output == "json" {
		err = printJSON(inv, report, found)
	} else {
		err = printTable(inv, report, found)
	}
	if err != nil {
		return fmt.Errorf("print settings: %w", err)
	}
	if wrong != nil {
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
