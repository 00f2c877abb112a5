// Command reference prints the settings reference, docs/settings.md.
package main

import (
	"fmt"
	"os"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
)

func main() {
	if err := config.WriteReference(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "write reference:", err)
		os.Exit(1)
	}
}
