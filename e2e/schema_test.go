package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// validate checks what the status command prints, and what every node that runs answers, against the published schema.
func validate(t *testing.T, c *harness.Cluster) {
	t.Helper()
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	const name = "status.schema.json"
	path := filepath.Join("..", "docs", "monitoring", name)
	whole, err := compiler.Compile(path)
	require.NoError(t, err)
	node, err := compiler.Compile(path + "#/$defs/node")
	require.NoError(t, err)
	check := func(what string, s *jsonschema.Schema, b []byte) {
		t.Helper()
		var doc any
		require.NoError(t, json.Unmarshal(b, &doc), "%s: %s", what, b)
		require.NoErrorf(t, s.Validate(doc), "%s: %s", what, b)
	}
	d := c.Doc()
	out, err := c.Command(30*time.Second, "status", "--output", "json", "--consul", d.Consul, "--cluster", d.Cluster)
	require.NoError(t, err)
	check("status", whole, []byte(out))
	client := http.Client{Timeout: 10 * time.Second}
	for _, n := range d.Nodes {
		for path, s := range map[string]*jsonschema.Schema{"/cluster": whole, "/status": node} {
			r, err := client.Get("http://" + n.HTTP + path)
			if err != nil {
				continue // it does not run
			}
			b, err := io.ReadAll(r.Body)
			_ = r.Body.Close()
			if err == nil && r.StatusCode == http.StatusOK {
				check(n.Name+path, s, b)
			}
		}
	}
}
