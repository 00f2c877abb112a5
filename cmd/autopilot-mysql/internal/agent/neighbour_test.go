package agent

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/election"
)

// found is a catalog in memory: name → healthy instances.
type found map[string][]election.Instance

func (f found) Healthy(_ context.Context, name string) ([]election.Instance, error) {
	if f == nil {
		return nil, errors.New("no answer")
	}
	return f[name], nil
}

func (f found) WaitHealthy(ctx context.Context, name string, _ uint64, _ time.Duration) ([]election.Instance, uint64, error) {
	all, err := f.Healthy(ctx, name)
	return all, 1, err
}

// A new cluster never begins under the names of another: whoever looks for its primary would find two.
func TestNeighbours(t *testing.T) {
	set := &config.Settings{Name: "n1"}
	set.Cluster, set.Service = "shop", "mysql"
	own := election.Instance{ID: "mysql-primary-shop-n2", Meta: map[string]string{"cluster": "shop", "node": "n2"}}
	other := election.Instance{ID: "mysql-primary-blog-db1", Address: "10.0.0.1", Port: 3306, Meta: map[string]string{"cluster": "blog", "node": "db1"}}
	alien := election.Instance{ID: "mysql-7", Address: "10.0.0.2", Port: 3306}
	for name, c := range map[string]struct {
		catalog election.Discovery
		says    string
	}{
		"nobody looks":      {nil, ""},
		"nobody":            {found{}, ""},
		"this cluster":      {found{"mysql-primary": {own}, "mysql": {own}}, ""},
		"another service":   {found{"blog-primary": {other}}, ""},
		"another's primary": {found{"mysql-primary": {own, other}}, `service mysql-primary in Consul also leads to node db1 of cluster "blog" at 10.0.0.1:3306`},
		"another program":   {found{"mysql": {alien}}, "service mysql in Consul also leads to mysql-7 at 10.0.0.2:3306, which is no node of this program"},
	} {
		t.Run(name, func(t *testing.T) {
			n := neighbours{catalog: c.catalog, set: set}
			said, err := n.look(t.Context())
			require.NoError(t, err)
			require.Equal(t, c.says, said)
			err = n.refusal(t.Context())
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			var r *Refusal
			require.ErrorAs(t, err, &r)
			require.Equal(t, 3, r.ExitCode())
			require.Contains(t, err.Error(), c.says)
			require.Contains(t, err.Error(), "--service")
		})
	}
	n := neighbours{catalog: found(nil), set: set}
	var r *Refusal
	require.NotErrorAs(t, n.refusal(t.Context()), &r, "without an answer nobody is refused for good")
	require.Error(t, n.refusal(t.Context()))
}
