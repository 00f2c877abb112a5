package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// LogsIn tells whether the server of c lets user in over its socket with this password. An error means that it could not
// be asked.
func LogsIn(ctx context.Context, c Config, user, password string) (bool, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	conn, err := socketConnector(c.Socket(), user, password, false).Connect(ctx)
	switch {
	case err == nil:
		_ = conn.Close()
		return true, nil
	case hasErrno(err, errnoAccessDenied):
		return false, nil
	}
	return false, fmt.Errorf("try to log in as %s: %w", user, err)
}

// Denied tells whether err says that an account or its password is not accepted.
func Denied(err error) bool { return hasErrno(err, errnoAccessDenied) }

// credentials are those in use now.
func (s *Server) credentials() Credentials {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.creds
}

// SetCredentials changes what connections opened from now on log in with, and what accounts made from now on accept.
// Open connections stay.
func (s *Server) SetCredentials(c Credentials) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.creds = c
}

// BeginRotation makes the cluster's own accounts accept next as well as the present password: the replication accounts of
// this server unlogged, then, in logged statements that therefore wait for their ACK, those every server has. Whoever
// sees the latter accept next may rely on the former. It is for the primary, and may be repeated.
func (s *Server) BeginRotation(ctx context.Context, next string) error {
	c := s.credentials()
	begun := true
	for _, password := range []string{c.Password, next} {
		ok, err := LogsIn(ctx, s.cfg, c.Admin(), password)
		if err != nil {
			return err
		}
		begun = begun && ok
	}
	if begun {
		return nil
	}
	if err := s.rekeyNodes(ctx, c.Password, next); err != nil {
		return err
	}
	const op = "begin rotation of the cluster's password"
	admin, monitor := account(c.Admin(), "localhost"), account(c.Monitor(), "%")
	// RETAIN keeps what an account has as its first password. That is another one when a rotation was given up half-way.
	if err := s.marker.exec(ctx, op, "ALTER USER "+admin+" IDENTIFIED BY ?, "+monitor+" IDENTIFIED BY ?", c.Password, c.Password); err != nil {
		return err
	}
	const both = " IDENTIFIED BY ? RETAIN CURRENT PASSWORD"
	return s.marker.exec(ctx, op, "ALTER USER "+admin+both+", "+monitor+both, next, next)
}

// EndRotation ends what BeginRotation began: only the present password is accepted from now on. It is for the primary.
func (s *Server) EndRotation(ctx context.Context) error {
	c := s.credentials()
	if err := s.settleNodes(ctx); err != nil {
		return err
	}
	const op = "end rotation of the cluster's password"
	admin, monitor := account(c.Admin(), "localhost"), account(c.Monitor(), "%")
	// The present password may be the second one, if somebody went back to it.
	if err := s.marker.exec(ctx, op, "ALTER USER "+admin+" IDENTIFIED BY ?, "+monitor+" IDENTIFIED BY ?", c.Password, c.Password); err != nil {
		return err
	}
	return s.marker.exec(ctx, op, "ALTER USER "+admin+" DISCARD OLD PASSWORD, "+monitor+" DISCARD OLD PASSWORD")
}

// Rotating tells whether a rotation has begun and not ended: two passwords are accepted.
func (s *Server) Rotating(ctx context.Context) (bool, error) {
	sets, err := s.status.query(ctx, "look for a second password", "SELECT COUNT(*) AS n FROM mysql.user WHERE User = ? AND Host = 'localhost' "+
		"AND JSON_CONTAINS_PATH(User_attributes, 'one', '$.additional_password')", s.credentials().Admin())
	if err != nil {
		return false, err
	}
	return sets[0][0].number("n") > 0, nil
}

// RekeyFollower does to the replication accounts of a server that is not the primary what the primary did to its own: they
// are unlogged, and whoever follows this server one day logs in with them. With a former password both are accepted.
func (s *Server) RekeyFollower(ctx context.Context, former string) error {
	return s.whileAdminsWrite(ctx, "renew passwords of replication accounts", func(ctx context.Context) error {
		if former != "" {
			return s.rekeyNodes(ctx, former, s.credentials().Password)
		}
		return s.settleNodes(ctx)
	})
}

func (s *Server) rekeyNodes(ctx context.Context, former, next string) error {
	return s.alterNodes(ctx, func(name string) (string, []any) { return bothPasswords(name), []any{former, next} })
}

// bothPasswords makes an account accept two passwords, whatever it accepted before: the former, the next.
func bothPasswords(name string) string {
	return "ALTER USER " + name + " IDENTIFIED BY ?; ALTER USER " + name + " IDENTIFIED BY ? RETAIN CURRENT PASSWORD"
}

func (s *Server) settleNodes(ctx context.Context) error {
	return s.alterNodes(ctx, func(name string) (string, []any) {
		return "ALTER USER " + name + " IDENTIFIED BY ?; ALTER USER " + name + " DISCARD OLD PASSWORD", []any{s.credentials().Password}
	})
}

func (s *Server) alterNodes(ctx context.Context, statement func(name string) (string, []any)) error {
	accounts, err := s.ReplicationAccounts(ctx)
	if err != nil {
		return err
	}
	for user := range accounts {
		name, err := accountName(user)
		if err != nil {
			return err
		}
		text, args := statement(name)
		if err := s.control.exec(ctx, "renew password of "+user, text, args...); err != nil {
			return err
		}
	}
	return nil
}

// ChannelPassword is what this server's receiver logs in with; "" without a channel.
func (s *Server) ChannelPassword(ctx context.Context) (string, error) {
	sets, err := s.status.query(ctx, "read the receiver's login", "SELECT User_password AS password FROM mysql.slave_master_info WHERE Channel_name = ''")
	if err != nil || len(sets[0]) == 0 {
		return "", err
	}
	return sets[0][0]["password"], nil
}

// SetUserPassword changes the password of these accounts (user@host), logged, and skips those that do not exist. With
// retain the present one is accepted too, until the next change or DISCARD OLD PASSWORD.
func (s *Server) SetUserPassword(ctx context.Context, user string, hosts []string, password string, retain bool) error {
	by := " IDENTIFIED BY ?"
	if retain {
		by += " RETAIN CURRENT PASSWORD"
	}
	var parts []string
	var args []any
	for _, host := range slices.Sorted(slices.Values(hosts)) {
		parts, args = append(parts, account(user, host)+by), append(args, password)
	}
	return s.marker.exec(ctx, "change password of "+user, "ALTER USER IF EXISTS "+strings.Join(parts, ", "), args...)
}

// TLSFiles are the certificate files mysqld has been told of, as it names them; relative ones lie in the data directory.
func (s *Server) TLSFiles(ctx context.Context) ([]string, error) {
	sets, err := s.status.query(ctx, "read TLS settings", "SELECT @@GLOBAL.ssl_ca AS a, @@GLOBAL.ssl_cert AS b, @@GLOBAL.ssl_key AS c, @@GLOBAL.ssl_crl AS d")
	if err != nil {
		return nil, err
	}
	var files []string
	for _, name := range []string{"a", "b", "c", "d"} {
		if f := sets[0][0][name]; f != "" {
			files = append(files, f)
		}
	}
	return files, nil
}

// ReloadTLS makes mysqld read its certificates again; connections that are open keep theirs. With files that do not fit
// together it fails, and the former ones stay.
func (s *Server) ReloadTLS(ctx context.Context) error {
	return s.control.exec(ctx, "reload TLS certificates", "ALTER INSTANCE RELOAD TLS")
}
