package mysql

import (
	"context"
	"fmt"
	"regexp"
	"strings"
)

// userPattern is what account names of ours look like; anything else is refused before it gets into
// a statement.
var userPattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,31}$`)

func accountName(user string) (string, error) {
	if !userPattern.MatchString(user) {
		return "", fmt.Errorf("account name %q: not one of ours", user)
	}
	return "'" + user + "'@'%'", nil
}

// EnsureAccount makes the replication account user@'%' exist with exactly the privileges a receiver
// needs, in this server only (unlogged: trap 18, and every primary decides for itself who may ACK).
// A missing one is created locked or not, as told; an existing one is locked when locked is true and
// otherwise left as it is: only UnlockAccount unlocks.
func (s *Server) EnsureAccount(ctx context.Context, user string, locked bool) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	name, err := accountName(user)
	if err != nil {
		return err
	}
	accounts, err := s.ReplicationAccounts(ctx)
	if err != nil {
		return err
	}
	is, exists := accounts[user]
	if exists && locked && !is {
		return s.LockAccounts(ctx, []string{user})
	}
	if exists {
		return nil
	}
	// Born locked: between CREATE and GRANT nobody can use half an account.
	op, c := "create account "+user, s.credentials()
	if err := s.control.exec(ctx, op, "CREATE USER IF NOT EXISTS "+name+" IDENTIFIED BY ? ACCOUNT LOCK", c.Password); err != nil {
		return err
	}
	if c.Former != "" {
		if err := s.control.exec(ctx, op, bothPasswords(name), c.Former, c.Password); err != nil {
			return err
		}
	}
	// CONNECTION_ADMIN: offline_mode would otherwise cut the ackers off, and fencing needs their ACKs.
	if err := s.control.exec(ctx, op, "GRANT REPLICATION SLAVE, CONNECTION_ADMIN ON *.* TO "+name); err != nil {
		return err
	}
	if locked {
		return nil
	}
	return s.UnlockAccount(ctx, user)
}

// LockAccounts locks all of them in one unlogged statement; missing ones are no error. Streams that
// run go on: follow it by KillDumpThreads. Behind a waiting CREATE USER it fails with server error
// 1205 after a second.
func (s *Server) LockAccounts(ctx context.Context, users []string) error {
	if len(users) == 0 {
		return nil
	}
	names := make([]string, len(users))
	for i, user := range users {
		name, err := accountName(user)
		if err != nil {
			return err
		}
		names[i] = name
	}
	return s.control.exec(ctx, "lock accounts "+strings.Join(users, ", "),
		"ALTER USER IF EXISTS "+strings.Join(names, ", ")+" ACCOUNT LOCK")
}

// UnlockAccount lets one account connect again, unlogged. Its receiver comes back by itself within
// its connect retry. A missing account is an error.
func (s *Server) UnlockAccount(ctx context.Context, user string) error {
	name, err := accountName(user)
	if err != nil {
		return err
	}
	return s.control.exec(ctx, "unlock account "+user, "ALTER USER "+name+" ACCOUNT UNLOCK")
}

// OpenAccounts makes sure that these accounts exist, and lets all of them connect: one statement for those that do.
func (s *Server) OpenAccounts(ctx context.Context, users []string) error {
	if len(users) == 0 {
		return nil
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	accounts, err := s.ReplicationAccounts(ctx)
	if err != nil {
		return err
	}
	names := make([]string, len(users))
	for i, user := range users {
		if names[i], err = accountName(user); err != nil {
			return err
		}
		if _, exists := accounts[user]; exists {
			continue
		}
		if err := s.EnsureAccount(ctx, user, true); err != nil {
			return err
		}
	}
	return s.control.exec(ctx, "unlock accounts "+strings.Join(users, ", "), "ALTER USER "+strings.Join(names, ", ")+" ACCOUNT UNLOCK")
}

// DropAccount removes one account, in this server only (unlogged); a missing one is no error. Streams that run go on:
// lock it and use KillDumpThreads first.
func (s *Server) DropAccount(ctx context.Context, user string) error {
	name, err := accountName(user)
	if err != nil {
		return err
	}
	return s.control.exec(ctx, "drop account "+user, "DROP USER IF EXISTS "+name)
}

// ReplicationAccounts are this server's replication accounts of nodes, and whether each is locked.
func (s *Server) ReplicationAccounts(ctx context.Context) (map[string]bool, error) {
	sets, err := s.control.query(ctx, "list replication accounts",
		"SELECT User AS user, account_locked AS locked FROM mysql.user WHERE Host = '%' AND User REGEXP ?",
		"^"+regexp.QuoteMeta(s.credentials().Prefix)+"_[0-9a-f]{8}$")
	if err != nil {
		return nil, err
	}
	accounts := map[string]bool{}
	for _, r := range sets[0] {
		accounts[r["user"]] = r["locked"] == "Y"
	}
	return accounts, nil
}

// KillDumpThreads ends the streams of these accounts (nil: all streams, whoever opened them) and
// returns once they are gone, so that no further ACK of theirs counts; for nil also once mysqld
// counts no semi-synchronous replica any more. Lock the accounts first: an unlocked receiver is back
// within milliseconds.
func (s *Server) KillDumpThreads(ctx context.Context, users []string) error {
	if users != nil && len(users) == 0 {
		return nil
	}
	return s.killDumpThreads(ctx, "IN", users)
}

// KillDumpThreadsBut ends all streams but those of these accounts, and returns once they are gone.
func (s *Server) KillDumpThreadsBut(ctx context.Context, spared []string) error {
	if len(spared) == 0 {
		return s.killDumpThreads(ctx, "", nil)
	}
	return s.killDumpThreads(ctx, "NOT IN", spared)
}

func (s *Server) killDumpThreads(ctx context.Context, in string, users []string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	const op = "kill replication streams"
	where, args := "", []any(nil)
	if users != nil {
		where = " AND USER " + in + " (?" + strings.Repeat(", ?", len(users)-1) + ")"
		for _, user := range users {
			args = append(args, user)
		}
	}
	return poll(ctx, op, func(ctx context.Context) (bool, error) {
		// Killed threads still end their stream: they count until they are gone.
		sets, err := s.control.query(ctx, op, "SELECT ID FROM performance_schema.processlist "+
			"WHERE COMMAND LIKE 'Binlog Dump%'"+where+"; "+statusOf+"'Rpl_semi_sync_source_clients')", args...)
		if err != nil {
			return false, err
		}
		for _, r := range sets[0] {
			if err := s.killID(ctx, s.control, r.unsigned("ID")); err != nil {
				return false, err
			}
		}
		return len(sets[0]) == 0 && (users != nil || sets[1][0]["Value"] == "0"), nil
	})
}
