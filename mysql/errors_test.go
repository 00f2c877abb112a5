package mysql

import (
	"errors"
	"fmt"
	"testing"

	driver "github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"
)

// TestCommitRefused: what counts as "cannot commit" is the disk's and InnoDB's doing; locks, limits, read_only and silence
// are not.
func TestCommitRefused(t *testing.T) {
	for _, c := range []struct {
		err  error
		says string
	}{
		{&driver.MySQLError{Number: 1114, Message: "The table 'marker' is full"}, "error 1114: The table 'marker' is full"},
		{fmt.Errorf("commit marker: %w", &driver.MySQLError{Number: 3, Message: "Error writing file"}), "error 3: Error writing file"},
		{&driver.MySQLError{Number: 1205, Message: "Lock wait timeout exceeded"}, ""},
		{&driver.MySQLError{Number: 1040, Message: "Too many connections"}, ""},
		{&driver.MySQLError{Number: 1290, Message: "read-only"}, ""},
		{ErrUnavailable, ""},
		{&UnknownError{Op: "commit marker", Err: errors.New("invalid connection")}, ""},
		{nil, ""},
	} {
		says, ok := CommitRefused(c.err)
		require.Equal(t, c.says, says)
		require.Equal(t, c.says != "", ok)
	}
}
