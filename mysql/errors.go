package mysql

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"slices"

	driver "github.com/go-sql-driver/mysql"
)

var (
	// ErrUnavailable means that nothing was sent: no connection to mysqld could be had in time.
	ErrUnavailable = errors.New("no connection to mysqld")
	// ErrUndrained means that received transactions are not executed yet, and the operation would
	// delete the relay log that holds them (MySQL traps 2 and 3).
	ErrUndrained = errors.New("received transactions are not executed yet")
	// ErrRelayLogLost means that transactions this server had received are gone: its past ACKs no
	// longer hold, so the node is void until it is admitted again.
	ErrRelayLogLost = errors.New("received transactions are gone from the relay log")
	// ErrNoReplication means that this mysqld can follow nobody before it is started anew: it failed to make a channel, and
	// from then on refuses every statement about it (trap 27). Nothing that was received is lost by it.
	ErrNoReplication = errors.New("mysqld follows nobody before it is started anew")
	// ErrWaiters means that sessions still wait for an ACK, so the server's history may still grow.
	ErrWaiters = errors.New("sessions still wait for an ACK")
	// ErrPurged means that binary logs holding the wanted transactions no longer exist.
	ErrPurged = errors.New("binary logs are purged")
)

// UnknownError says that a statement was sent and its outcome is not known: the deadline passed or
// the connection broke. It may have happened, not happened, or happen later. Never repeat such a
// statement blindly; read the state first.
type UnknownError struct {
	Op  string // verb and noun, no secrets
	Err error
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("%s: outcome unknown: %v", e.Op, e.Err)
}

// Unwrap gives the cause, so that errors.Is finds context.DeadlineExceeded.
func (e *UnknownError) Unwrap() error { return e.Err }

// StepError names the step of a sequence that failed, for sequences whose steps mean different
// remedies (fencing: the caller kills the process).
type StepError struct {
	Step string
	Err  error
}

func (e *StepError) Error() string { return e.Step + ": " + e.Err.Error() }

// Unwrap gives the cause.
func (e *StepError) Unwrap() error { return e.Err }

// Server error numbers the protocol looks at.
const (
	errnoNoSuchThread   = 1094
	errnoParse          = 1064
	errnoNoSuchTable    = 1146
	errnoNoSuchDatabase = 1049
	errnoNoChannel      = 1794 // ER_REPLICA_CONFIGURATION
)

// refusals are the server's errors that mean: the commit did not happen because of the disk, or of InnoDB itself. Locks,
// limits and read_only are not among them.
var refusals = []uint16{
	3,    // EE_WRITE: error writing a file
	20,   // EE_DISKFULL
	1021, // ER_DISK_FULL
	1026, // ER_ERROR_ON_WRITE
	1030, // ER_GET_ERRNO: an error of the storage engine
	1114, // ER_RECORD_FILE_FULL: the table is full
	1180, // ER_ERROR_DURING_COMMIT
	1598, // ER_BINLOG_LOGGING_IMPOSSIBLE
	1874, // ER_INNODB_READ_ONLY
	3100, // ER_RUN_HOOK_ERROR: writing the binary log was refused
}

// CommitRefused tells whether err is mysqld's own word that it cannot commit because of its disk or storage engine, and
// what it said.
func CommitRefused(err error) (reason string, ok bool) {
	var answer *driver.MySQLError
	if !errors.As(err, &answer) || !slices.Contains(refusals, answer.Number) {
		return "", false
	}
	return fmt.Sprintf("error %d: %s", answer.Number, answer.Message), true
}

// ServerErrno is the number of the error that mysqld itself answered with; false when it did not answer.
func ServerErrno(err error) (int, bool) {
	var answer *driver.MySQLError
	if errors.As(err, &answer) {
		return int(answer.Number), true
	}
	return 0, false
}

// classify gives a failed statement its type. ctx is the one the statement ran under.
func classify(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if hasErrno(err, errnoParse) {
		err = withoutText(err) // it quotes the statement, which may hold a password
	}
	if _, answered := ServerErrno(err); answered {
		return fmt.Errorf("%s: %w", op, err)
	}
	if errors.Is(err, sqldriver.ErrBadConn) { // the driver's promise: nothing was written
		return fmt.Errorf("%s: %w: connection was closed", op, ErrUnavailable)
	}
	if cause := ctx.Err(); cause != nil {
		err = cause
	}
	return &UnknownError{Op: op, Err: err}
}
