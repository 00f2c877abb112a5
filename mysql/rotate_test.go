package mysql

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRotation: the password of the cluster's own accounts changes while a follower receives; neither password ever fails a
// login before the end, and the former one does after it.
func TestRotation(t *testing.T) {
	p, f := opsPair(t, true)
	ctx := procContext(t)
	const next = "the next p#w'd"
	logsIn := func(c Config, password string) bool {
		ok, err := LogsIn(ctx, c, procCreds.Admin(), password)
		require.NoError(t, err)
		return ok
	}
	user := procCreds.Node("f")
	remote := func(user, password string) error { return TryLogin(ctx, procAddr(p.cfg), user, password, TLS{}) }
	require.False(t, logsIn(p.cfg, next))
	two, err := p.Rotating(ctx)
	require.NoError(t, err)
	require.False(t, two)

	require.NoError(t, p.BeginRotation(ctx, "thought better of"))
	for range 2 { // a repetition does no harm
		require.NoError(t, p.BeginRotation(ctx, next))
		for _, password := range []string{procPassword, next} {
			require.True(t, logsIn(p.cfg, password))
			require.NoError(t, remote(user, password))
			require.NoError(t, remote(procCreds.Monitor(), password))
		}
		if two, err := p.Rotating(ctx); err != nil || !two {
			require.True(t, two, err)
		}
	}
	f.until("the follower accepts it", func(Status) bool { return logsIn(f.cfg, next) })

	// The follower's own accounts, and its receiver.
	both := Credentials{Prefix: procCreds.Prefix, Password: next, Former: procPassword}
	require.NoError(t, f.LetIn(ctx, []string{procCreds.Node("g")}))
	f.SetCredentials(both)
	require.NoError(t, f.RekeyFollower(ctx, procPassword))
	require.True(t, f.st().SuperReadOnly)
	require.NoError(t, TryLogin(ctx, procAddr(f.cfg), procCreds.Node("g"), procPassword, TLS{}))
	require.NoError(t, TryLogin(ctx, procAddr(f.cfg), procCreds.Node("g"), next, TLS{}))
	is, err := f.ChannelPassword(ctx)
	require.NoError(t, err)
	require.Equal(t, procPassword, is)

	p.SetCredentials(both)
	require.NoError(t, p.EnsureAccount(ctx, procCreds.Node("h"), false))
	require.NoError(t, remote(procCreds.Node("h"), procPassword), "made during a rotation it accepts both as well")
	require.NoError(t, remote(procCreds.Node("h"), next))

	require.NoError(t, p.EndRotation(ctx))
	require.False(t, logsIn(p.cfg, procPassword))
	require.ErrorIs(t, remote(user, procPassword), ErrAccessDenied)
	require.NoError(t, remote(user, next))
	f.until("the end reaches the follower", func(Status) bool { return !logsIn(f.cfg, procPassword) })
	require.NoError(t, f.RekeyFollower(ctx, ""))
	require.ErrorIs(t, TryLogin(ctx, procAddr(f.cfg), procCreds.Node("g"), procPassword, TLS{}), ErrAccessDenied)
	require.NoError(t, f.Ready(ctx), "kept connections stay, new ones know the new password")
}

// TestRekey: data that knows only a former password is opened with the present one; nothing of that is in its history.
func TestRekey(t *testing.T) {
	_, f := opsPair(t, false)
	ctx := procContext(t)
	before := f.st().Executed
	f.shutdown()
	f.Close()
	next := Credentials{Prefix: procCreds.Prefix, Password: "another one"}
	require.NoError(t, Rekey(ctx, f.cfg, next))
	f.stop = procStart(t, f.cfg)
	f.Server = Open(f.cfg, next)
	t.Cleanup(f.Server.Close)
	f.ok(f.Ready)
	ok, err := LogsIn(ctx, f.cfg, next.Admin(), next.Password)
	require.NoError(t, err)
	require.True(t, ok)
	require.True(t, f.st().Executed.Equal(before))
}
