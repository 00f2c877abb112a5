package consul_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/election/consul"
	"github.com/autopilot-mysql/autopilot-mysql/election/internal/conformance"
)

func TestConsulConformance(t *testing.T) {
	c := client(t, consul.Config{RequestTimeout: 10 * time.Second}, startServer(t, nil))
	// A long lease: these tests are about semantics, and nobody passes the checks meanwhile.
	p, err := election.ParamsFor(30 * time.Second)
	require.NoError(t, err)
	conformance.Run(t, conformance.Backend{
		Store:   c.Store(),
		Session: func(node string) election.Session { return c.Session(node, p, "mysql/test/") },
	})
}
