package snapshot

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestScratchIsTheServers: whoever was killed between making the directory and giving it away has not spoiled it.
func TestScratchIsTheServers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory to somebody else")
	}
	const server, somebody = 65534, 65533
	home := t.TempDir()
	require.NoError(t, os.Chown(home, server, server))
	dir := filepath.Join(home, "snapshot.tmp")
	uid := func() uint32 {
		st, err := ownerOf(dir)
		require.NoError(t, err)
		return st.Uid
	}

	require.NoError(t, os.Mkdir(dir, 0o750)) // and killed
	_, err := prepareScratch(CreateOptions{ScratchDir: dir}, "1")
	require.NoError(t, err)
	require.EqualValues(t, server, uid())

	require.NoError(t, os.Remove(dir))
	_, err = prepareScratch(CreateOptions{ScratchDir: dir}, "1")
	require.NoError(t, err)
	require.EqualValues(t, server, uid(), "made anew")

	require.NoError(t, os.Chown(dir, somebody, somebody))
	_, err = prepareScratch(CreateOptions{ScratchDir: dir}, "1")
	require.NoError(t, err)
	require.EqualValues(t, somebody, uid(), "an operator's own choice stays")
}
