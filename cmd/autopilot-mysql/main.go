// Command autopilot-mysql runs MySQL containers as one self-managing primary/replica cluster. This file only wires.
package main

import (
	"context"
	"os"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
)

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version string

func main() {
	os.Exit(cli.Main(context.Background(), os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr, handlers()))
}
