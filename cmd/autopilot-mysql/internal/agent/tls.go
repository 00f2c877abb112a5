package agent

import (
	"fmt"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
)

// tlsFiles are the certificates of mysqld.
func tlsFiles(s *config.Settings) mysql.TLS {
	return mysql.TLS{CA: s.MySQLCA, Cert: s.MySQLCert, Key: s.MySQLKey, AnyName: s.MySQLTLSVerify == "ca", Required: s.MySQLTLSRequired}
}

// checkTLS refuses certificates that no other node would accept.
func checkTLS(s *config.Settings) error {
	t := tlsFiles(s)
	if _, _, err := t.Load(); err != nil {
		return unusable("TLS of mysqld", err.Error(), "correct --mysql-ca, --mysql-cert and --mysql-key")
	}
	if err := t.Names(s.Advertise); err != nil {
		return unusable("TLS of mysqld", err.Error(), fmt.Sprintf("put %s, which the other nodes use, into the certificate, or give --mysql-tls-verify ca", s.Advertise))
	}
	return nil
}
