package harness

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TokenEnv is the variable that gives commands and nodes their Consul token.
const TokenEnv = "CONSUL_HTTP_TOKEN"

const (
	tokenHeader = "X-Consul-Token"
	// administrator is the token of whoever set the Consul up.
	administrator = "11111111-2222-4333-8444-555555555555"
)

// GuardedConsul is a Consul that denies whatever no token allows.
type GuardedConsul struct{ *ConsulServer }

// NewGuardedConsul starts one, as [NewConsul] does.
func NewGuardedConsul(t testing.TB) GuardedConsul {
	t.Helper()
	first := "initial_management"
	if version, err := exec.Command(Consul(t), "version").Output(); err == nil && strings.HasPrefix(string(version), "Consul v1.8.") {
		first = "master" // the older word
	}
	return GuardedConsul{newConsul(t, nil, map[string]any{"acl": map[string]any{
		"enabled": true, "default_policy": "deny", "tokens": map[string]string{first: administrator, "agent": administrator},
	}}, 0)}
}

// Token makes one that may do what the rules say, and no more.
func (s GuardedConsul) Token(name, rules string) string {
	s.t.Helper()
	for deadline := time.Now().Add(FailoverLimit); ; time.Sleep(100 * time.Millisecond) { // until the ACLs are up everything is denied
		_, err := s.put("/v1/acl/policy", map[string]string{"Name": name, "Rules": rules})
		if err == nil {
			break
		}
		require.Truef(s.t, time.Now().Before(deadline), "make policy: %v", err)
	}
	b, err := s.put("/v1/acl/token", map[string]any{"Policies": []map[string]string{{"Name": name}}})
	require.NoError(s.t, err)
	var made struct{ SecretID string }
	require.NoError(s.t, json.Unmarshal(b, &made))
	return made.SecretID
}

func (s GuardedConsul) put(path string, what any) ([]byte, error) {
	body, err := json.Marshal(what)
	if err != nil {
		return nil, err
	}
	return exchange(http.MethodPut, s.Addr, path, administrator, body, http.StatusOK)
}
