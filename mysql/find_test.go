package mysql

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Other series than the tested one cannot be run here: their rules are tested on what they print.
func TestVersionRules(t *testing.T) {
	for out, want := range map[string]struct {
		version string
		err     error
		warns   bool
	}{
		"/usr/sbin/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))":                                 {version: "9.7.4"},
		"/usr/sbin/mysqld  Ver 9.7.0 for Linux on aarch64 (MySQL Community Server - GPL)\n":            {version: "9.7.0"},
		"mysqld  Ver 8.4.0 for Linux on x86_64 (MySQL Community Server - GPL)":                         {version: "8.4.0", warns: true},
		"mysqld  Ver 8.4.6-6 for Linux on x86_64 (Percona Server (GPL), Release 6, Revision 43e2a1d0)": {version: "8.4.6", warns: true},
		"mysqld  Ver 10.0.1 for Linux on x86_64 (MySQL Community Server - GPL)":                        {version: "10.0.1", warns: true},
		"mysqld  Ver 9.10.0 for Linux on x86_64 (MySQL Community Server - GPL)":                        {version: "9.10.0", warns: true},
		"mysqld  Ver 8.3.0 for Linux on x86_64 (MySQL Community Server - GPL)":                         {version: "8.3.0", err: ErrTooOld, warns: true},
		"mysqld  Ver 8.0.44 for Linux on x86_64 (MySQL Community Server - GPL)":                        {version: "8.0.44", err: ErrTooOld, warns: true},
		"mysqld  Ver 5.7.44 for Linux on x86_64 (MySQL Community Server (GPL))":                        {version: "5.7.44", err: ErrTooOld, warns: true},
		"/usr/sbin/mysqld  Ver 10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64 (Debian 12)":   {err: ErrNotMySQL},
		"": {err: ErrNotMySQL}, "command not found": {err: ErrNotMySQL}, "Ver nine": {err: ErrNotMySQL},
	} {
		version, err := parseVersion(out)
		if err == nil {
			require.Equal(t, want.version, version, out)
			require.Equal(t, want.warns, VersionWarning(version) != "", out)
			err = checkVersion(version)
		}
		require.ErrorIs(t, err, want.err, out)
	}
	require.EqualError(t, checkVersion("8.0.44"), "mysqld is too old: it is 8.0.44, supported is 8.4 or newer")
}

func fakeMysqld(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mysqld")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	return path
}

func TestFindMysqldTellsWhatIsWrong(t *testing.T) {
	ctx := context.Background()
	_, _, err := FindMysqld(ctx, "/nowhere/mysqld")
	require.ErrorContains(t, err, "/nowhere/mysqld")

	path, version, err := FindMysqld(ctx, fakeMysqld(t, "echo mysqld  Ver 8.0.44 for Linux"))
	require.ErrorIs(t, err, ErrTooOld)
	require.Equal(t, "8.0.44", version)
	require.ErrorContains(t, err, path)

	_, _, err = FindMysqld(ctx, fakeMysqld(t, "echo cannot open shared object file >&2; exit 127"))
	require.ErrorContains(t, err, "cannot open shared object file")
}

func TestFindMysqldOnPathAndInUsualPlaces(t *testing.T) {
	fake := fakeMysqld(t, "echo mysqld  Ver 9.7.9 for Linux")
	t.Setenv("PATH", filepath.Dir(fake)+":/usr/bin:/bin")
	path, version, err := FindMysqld(context.Background(), "")
	require.NoError(t, err)
	require.Equal(t, fake, path)
	require.Equal(t, "9.7.9", version)

	t.Setenv("PATH", "/nowhere")
	path, err = lookUp("", []string{"/nowhere/a", fake})
	require.NoError(t, err)
	require.Equal(t, fake, path)
	_, err = lookUp("", []string{"/nowhere/a"})
	require.ErrorContains(t, err, "/nowhere/a")
}

func TestFindMysqldRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a server")
	}
	path, err := procMysqld()
	require.NoError(t, err, "set AUTOPILOT_TEST_MYSQLD or put mysqld on PATH")
	_, version, err := FindMysqld(context.Background(), path)
	require.NoError(t, err)
	require.Empty(t, VersionWarning(version), version)
}
