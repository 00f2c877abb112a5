package consul_test

import (
	"testing"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/election/consul"
	"github.com/autopilot-mysql/autopilot-mysql/election/internal/conformance"
)

func TestConsulConformance(t *testing.T) {
	c := client(t, consul.Config{}, startServer(t, nil))
	// A long lease: these tests are about semantics, and nobody passes the checks meanwhile.
	p := params(t, lease)
	conformance.Run(t, conformance.Backend{
		Store:   c.Store(),
		Session: func(node string) election.Session { return c.Session(node, p, "mysql/test/") },
	})
}
