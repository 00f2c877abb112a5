package mysql

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCredentialsNameAccounts(t *testing.T) {
	c := Credentials{Prefix: "repl", Password: "s3cret"}
	require.Equal(t, "repl_admin", c.Admin())
	require.Equal(t, "repl", c.Monitor())
	require.Equal(t, "repl_2b84c0b9", c.Node("mysql-1"), "first 8 hex digits of its sha256: must never change")
	require.NotEqual(t, c.Node("mysql-1"), c.Node("mysql-2"))
}

func TestCredentialsNeverPrintThePassword(t *testing.T) {
	c := Credentials{Prefix: "repl", Password: "s3cret"}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "creds", c)
	out := log.String() + fmt.Sprintf("%v %+v %#v %s", c, c, c, c) + fmt.Sprint(BootstrapSpec{Creds: c}.Creds)
	require.NotContains(t, out, "s3cret")
	require.Contains(t, out, "repl")
}

func TestCredentialsValidate(t *testing.T) {
	require.NoError(t, Credentials{Prefix: strings.Repeat("r", 23), Password: strings.Repeat("p", 32)}.Validate())
	for want, c := range map[string]Credentials{
		"letters":    {Prefix: "re'pl", Password: "x"},
		"at most 23": {Prefix: strings.Repeat("r", 24), Password: "x"},
		"is empty":   {Prefix: "repl"},
		"at most 32": {Prefix: "repl", Password: strings.Repeat("q", 33)},
	} {
		err := c.Validate()
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "qqq")
	}
}
