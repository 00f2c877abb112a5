package snapshot

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFormat1 restores what a version before units has made: testdata/format1.
func TestFormat1(t *testing.T) {
	for name, o := range map[string]KeyOptions{
		"plain": {}, "passphrase": {Passphrase: "correct horse"},
		"keys": {Identities: string(must(os.ReadFile("testdata/format1/keys.txt")))},
	} {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "store")
			require.NoError(t, os.CopyFS(root, os.DirFS("testdata/format1/"+name)))
			s, err := OpenStore("file://"+root, StoreOptions{})
			require.NoError(t, err)
			list, bad, err := List(t.Context(), s, "shop")
			require.NoError(t, err)
			require.Empty(t, bad)
			require.Len(t, list, 1)
			m := list[0]
			require.Equal(t, 1, m.Format)
			require.Greater(t, len(m.Parts), 1)
			keys, err := ParseKeys(o)
			require.NoError(t, err)
			dest := filepath.Join(t.TempDir(), "data")
			// It cannot be gone on with, so nothing is left of it.
			require.Error(t, Restore(t.Context(), until(s, m, 1), m, dest, RestoreOptions{Keys: keys}))
			requireGone(t, dest)
			require.NoError(t, Restore(t.Context(), s, m, dest, RestoreOptions{Keys: keys}))
			require.Equal(t, wantTree(t, tree{seed: 1, bytes: 20 << 10}), sums(t, dest))
			require.NoError(t, s.Delete(t.Context(), m.Parts[1].Key))
			require.ErrorIs(t, Restore(t.Context(), s, m, filepath.Join(t.TempDir(), "data"), RestoreOptions{Keys: keys}), ErrIncomplete)
		})
	}
}
