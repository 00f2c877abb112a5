package cli

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
)

// The MySQL series: older ones are refused, newer ones than the tested one bring a warning.
const (
	mysqlOldest = "8.4"
	mysqlTested = "9.7"
)

type versionCmd struct{ config.Output }

// Help is the long text of `version --help`.
func (*versionCmd) Help() string { return "Example: autopilot-mysql version --output json" }

// Run is called by kong.
func (c *versionCmd) Run(inv *Invocation) error {
	if _, err := inv.resolve(&c.Output, nil); err != nil {
		return err
	}
	version := BuildVersion(inv.handlers.Version)
	if c.Output.Output == "json" {
		return json.NewEncoder(inv.Stdout).Encode(map[string]string{
			"version": version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
			"mysql_oldest": mysqlOldest, "mysql_tested": mysqlTested,
		})
	}
	_, err := fmt.Fprintf(inv.Stdout, "%s %s (%s, %s/%s)\nMySQL: %s and later, tested with %s\n",
		Program, version, runtime.Version(), runtime.GOOS, runtime.GOARCH, mysqlOldest, mysqlTested)
	return err
}

// BuildVersion is the linker's version if there is one, else the module's or the revision it was built from.
func BuildVersion(linked string) string {
	if linked != "" {
		return linked
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}
