package mysql

import (
	"context"
	"crypto/rand"
	"fmt"
	"math/big"
	"strings"
)

// randomPasswordLength is the predecessor's: 20 of 57 letters are 116 bits.
const randomPasswordLength = 20

// accounts makes the cluster's own accounts, with exactly the privileges they need.
func (b *bootstrapper) accounts(ctx context.Context) error {
	c := b.spec.Creds
	admin, monitor := account(c.Admin(), "localhost"), account(c.Monitor(), "%")
	if err := b.user(ctx, admin, c.Password); err != nil {
		return err
	}
	if err := b.user(ctx, monitor, c.Password); err != nil {
		return err
	}
	return b.exec(ctx,
		"GRANT ALL ON *.* TO "+admin+" WITH GRANT OPTION",
		"REVOKE ALL PRIVILEGES, GRANT OPTION FROM "+monitor,
		"GRANT PROCESS, REPLICATION CLIENT, BACKUP_ADMIN, CONNECTION_ADMIN ON *.* TO "+monitor,
		"GRANT SELECT ON performance_schema.* TO "+monitor)
}

// user makes an account, or gives an existing one this password.
func (b *bootstrapper) user(ctx context.Context, account, password string) error {
	by := " IDENTIFIED BY " + sqlText(password)
	return b.secret(ctx, "create account "+account,
		"CREATE USER IF NOT EXISTS "+account+by, "ALTER USER "+account+by+" ACCOUNT UNLOCK")
}

// rootPassword sets root's password, for the socket and for TCP.
func (b *bootstrapper) rootPassword(ctx context.Context) error {
	b.root = b.spec.RootPassword
	if b.root == "" && b.spec.RandomRoot {
		var err error
		if b.root, err = randomPassword(); err != nil {
			return fmt.Errorf("make root password: %w", err)
		}
	}
	if err := b.user(ctx, account("root", "localhost"), b.root); err != nil {
		return err
	}
	if b.root == "" {
		return nil
	}
	remote := account("root", "%")
	if err := b.user(ctx, remote, b.root); err != nil {
		return err
	}
	if err := b.exec(ctx, "GRANT ALL ON *.* TO "+remote+" WITH GRANT OPTION"); err != nil {
		return err
	}
	if b.spec.RootPassword == "" {
		b.log("Generated root password: %s", b.root)
	}
	return nil
}

// closeRoot comes last, because init scripts work as root.
func (b *bootstrapper) closeRoot(ctx context.Context) error {
	switch {
	case b.root == "":
		b.log("no root password is set: root@localhost is locked")
		return b.exec(ctx, "ALTER USER "+account("root", "localhost")+" ACCOUNT LOCK")
	case b.spec.OneTime:
		return b.exec(ctx, "ALTER USER "+account("root", "localhost")+", "+account("root", "%")+" PASSWORD EXPIRE")
	}
	return nil
}

// application makes the application's database and its user, who may do anything in it and nothing outside.
func (b *bootstrapper) application(ctx context.Context) error {
	if b.spec.Database != "" {
		if err := b.exec(ctx, "CREATE DATABASE IF NOT EXISTS "+sqlName(b.spec.Database)); err != nil {
			return err
		}
	}
	if b.spec.User == "" {
		return nil
	}
	user := account(b.spec.User, "%")
	if err := b.user(ctx, user, b.spec.Password); err != nil {
		return err
	}
	if b.spec.Database == "" {
		b.log("application user %q has no privileges: no database is set", b.spec.User)
		return nil
	}
	// In GRANT the characters _ and % of a database name are wildcards.
	pattern := strings.NewReplacer(`\`, `\\`, `_`, `\_`, `%`, `\%`).Replace(b.spec.Database)
	return b.exec(ctx, "GRANT ALL ON "+sqlName(pattern)+".* TO "+user)
}

func randomPassword() (string, error) {
	const letters = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
	out := make([]byte, randomPasswordLength)
	for i := range out {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(letters))))
		if err != nil {
			return "", err
		}
		out[i] = letters[n.Int64()]
	}
	return string(out), nil
}
