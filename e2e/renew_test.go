package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/pki"
)

// TestRenewCertificates: the certificate of every node is replaced in its file while writers run: mysqld shows the new one
// to whoever comes, no term changes, no write fails, and replication, which verifies it, goes on. A file that is none is
// named and changes nothing.
func TestRenewCertificates(t *testing.T) {
	ca := pki.New(t)
	first := ca.Issue("node")
	c := harness.Up(t, harness.Options{Nodes: 3, Lease: atOnceLease, RestartAfter: "1s", NodeArgs: []string{
		"--mysql-ca", ca.File("ca.pem"), "--mysql-cert", ca.File("node.pem"), "--mysql-key", ca.File("node-key.pem")}})
	d := c.WaitWhole(3)
	for _, n := range d.Nodes {
		require.Equal(t, first, shownSerial(t, ca, d, n), n.Name)
	}
	for _, n := range d.Others() {
		require.Equal(t, "1", c.RootValue(n.Name, "SELECT Ssl_verify_server_cert FROM mysql.slave_master_info WHERE Channel_name = ''"), n.Name)
	}
	w := load.StartPatient(t, c)
	w.WaitAcks(50)

	second := ca.Issue("node")
	for _, n := range d.Nodes {
		waitFor(t, n.Name+" to show the new certificate", func() bool { return shownSerial(t, ca, d, n) == second })
	}
	w.WaitAcks(50)
	require.Equal(t, d.Term, c.WaitWhole(3).Term, "nobody took over")
	require.Zero(t, w.Failures())

	good, err := os.ReadFile(ca.File("node.pem"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(ca.File("node.pem"), []byte("not a certificate\n"), 0o644))
	for _, n := range d.Nodes {
		waitFor(t, n.Name+" to name the bad file", func() bool { return strings.Contains(c.Log(n.Name), "the new TLS certificates cannot be used") })
		require.Equal(t, second, shownSerial(t, ca, d, n), n.Name)
	}
	w.WaitAcks(50)
	require.NoError(t, os.WriteFile(ca.File("node.pem"), good, 0o644))

	third := ca.Issue("node")
	for _, n := range d.Nodes {
		waitFor(t, n.Name+" to show the third certificate", func() bool { return shownSerial(t, ca, d, n) == third })
	}
	require.Zero(t, w.Failures())
	// New connections for replication to every node: each verifies what it is shown.
	handsOver(t, c, "switchover")
	now := c.WaitNewPrimary(d.Primary, d.Term)
	c.WaitWhole(3)
	require.Greater(t, now.Term, d.Term)
	w.WaitAcks(50)
	w.Verify(c)
	c.Down()
}

// shownSerial is the serial number of the certificate that a node's mysqld shows to a client which verifies it.
func shownSerial(t *testing.T, ca *pki.CA, d harness.Document, n harness.Node) (serial int64) {
	t.Helper()
	root, err := os.ReadFile(ca.File("ca.pem"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(root))
	demands := &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", VerifyConnection: func(s tls.ConnectionState) error {
		serial = s.PeerCertificates[0].SerialNumber.Int64()
		return nil
	}}
	require.NoError(t, logsInOver(demands, n, d.User, d.Password))
	return serial
}
