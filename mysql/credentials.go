package mysql

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"regexp"
)

// maxUserName is the longest account name MySQL stores (mysql.user.User is char(32)).
const maxUserName = 32

// maxPassword is the longest password CHANGE REPLICATION SOURCE TO accepts; a longer one would work
// for every account except the replication ones, and fail only when the first replica connects.
const maxPassword = 32

// prefixPattern is what a prefix may consist of: account names are written into statements, file
// names and Consul records, so nothing that needs quoting anywhere is let in.
var prefixPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)

// Credentials name the accounts autopilot keeps inside every mysqld of one cluster, and their one
// password. It is a value: copying it is fine, and it never prints its password.
type Credentials struct {
	// TLS is how the other nodes prove themselves before they are shown the password.
	TLS TLS
	// Prefix is the first part of every account name (MYSQL_REPL_USER, by default "repl").
	Prefix string
	// Password is shared by all of them (MYSQL_REPL_PASSWORD).
	Password string
	// Former is accepted as well while the password is being rotated; "" otherwise.
	Former string
}

// Admin is the user part of the agent's own account, Prefix_admin@localhost: every privilege, and
// reachable only over the unix socket.
func (c Credentials) Admin() string { return c.Prefix + "_admin" }

// Monitor is the user part of Prefix@%: it reads another node's history and may be a clone donor.
func (c Credentials) Monitor() string { return c.Prefix }

// Node is the user part of the replication account of the node called name: one for every node, so
// that each stream can be locked by itself. It is a hash because node names may be longer than
// account names.
func (c Credentials) Node(name string) string {
	sum := sha256.Sum256([]byte(name))
	return c.Prefix + "_" + hex.EncodeToString(sum[:4])
}

// Validate tells whether account names and password can be used by every part of MySQL they are
// meant for. The error is a sentence for an operator and never holds the password.
func (c Credentials) Validate() error {
	longest := len(c.Node(""))
	switch {
	case !prefixPattern.MatchString(c.Prefix):
		return fmt.Errorf("replication user %q: must start with a letter and hold only letters, digits and _", c.Prefix)
	case longest > maxUserName:
		return fmt.Errorf("replication user %q: has %d characters, at most %d leave room for the node suffix",
			c.Prefix, len(c.Prefix), maxUserName-(longest-len(c.Prefix)))
	case c.Password == "":
		return fmt.Errorf("replication password of %q: is empty", c.Prefix)
	case len(c.Password) > maxPassword:
		return fmt.Errorf("replication password of %q: has %d bytes, MySQL replication takes at most %d",
			c.Prefix, len(c.Password), maxPassword)
	}
	return nil
}

// String shows the prefix only.
func (c Credentials) String() string { return c.Prefix + ":***" }

// GoString keeps the password out of %#v as well.
func (c Credentials) GoString() string { return "mysql.Credentials{" + c.String() + "}" }

// LogValue keeps the password out of structured logs.
func (c Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }
