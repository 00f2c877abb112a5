// Command reference prints the metrics reference, docs/metrics.md.
package main

import (
	"fmt"
	"os"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/metrics"
)

func main() {
	if err := metrics.WriteReference(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
