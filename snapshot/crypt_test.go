package snapshot

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/stretchr/testify/require"
)

// newKeys returns keys of one fresh identity, and the identity's text.
func newKeys(t *testing.T) (*Keys, string) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	require.NoError(t, err)
	k, err := ParseKeys(KeyOptions{Identities: "# created for a test\n" + id.String() + "\n"})
	require.NoError(t, err)
	return k, id.String()
}

func TestEncryptedSnapshot(t *testing.T) {
	everyStore(t, func(t *testing.T, s Store) {
		mine, secret := newKeys(t)
		o := options(t)
		o.Keys = mine
		src := tree{seed: 1, bytes: 900 << 10}
		m, err := Create(t.Context(), s, src, o)
		require.NoError(t, err)
		require.Equal(t, EncryptionAge, m.Encryption.Method)
		require.Equal(t, mine.Says(), m.Encryption)
		require.Contains(t, m.Parts[0].Key, ".tar.zst.age")
		for _, p := range m.Parts {
			require.NotContains(t, string(get(t, s, p.Key)), "\x28\xb5\x2f\xfd", "a zstd frame shows through")
		}
		list, bad, err := List(t.Context(), s, "shop")
		require.NoError(t, err)
		require.Empty(t, bad)
		require.Equal(t, []Manifest{m}, list)

		dest := filepath.Join(t.TempDir(), "data")
		require.NoError(t, Restore(t.Context(), s, m, dest, RestoreOptions{Keys: mine}))
		require.Equal(t, wantTree(t, src), sums(t, dest))

		other, _ := newKeys(t)
		onlyPublic, err := ParseKeys(KeyOptions{Recipients: m.Encryption.Recipients})
		require.NoError(t, err)
		for name, k := range map[string]*Keys{"none": nil, "another": other, "only the public one": onlyPublic} {
			dest := filepath.Join(t.TempDir(), "data")
			err := Restore(t.Context(), s, m, dest, RestoreOptions{Keys: k})
			require.ErrorIs(t, err, ErrNoKey, name)
			require.ErrorContains(t, err, m.Encryption.Recipients[0], "it says which key opens it")
			requireGone(t, dest)
		}
		require.NotContains(t, string(get(t, s, m.key())), secret)

		// What the sums cannot know, because whoever changed the parts changed the manifest too: the last part is left out.
		cut := m
		cut.Parts = m.Parts[:len(m.Parts)-1]
		cut.StoredBytes -= m.Parts[len(m.Parts)-1].Size
		dest = filepath.Join(t.TempDir(), "data")
		require.Error(t, Restore(t.Context(), s, cut, dest, RestoreOptions{Keys: mine}))
		requireGone(t, dest)
	})
}

func TestEncryptionWithAPassphrase(t *testing.T) {
	s := newDir(t)
	k, err := ParseKeys(KeyOptions{Passphrase: "correct horse"})
	require.NoError(t, err)
	o := options(t)
	o.Keys = k
	m, err := Create(t.Context(), s, tree{bytes: 1000}, o)
	require.NoError(t, err)
	require.True(t, m.Encryption.Passphrase)
	require.NoError(t, Restore(t.Context(), s, m, filepath.Join(t.TempDir(), "data"), RestoreOptions{Keys: k}))
	wrong, err := ParseKeys(KeyOptions{Passphrase: "battery staple"})
	require.NoError(t, err)
	require.ErrorIs(t, Restore(t.Context(), s, m, filepath.Join(t.TempDir(), "data"), RestoreOptions{Keys: wrong}), ErrNoKey)
}

func TestParseKeys(t *testing.T) {
	none, err := ParseKeys(KeyOptions{Identities: " \n"})
	require.NoError(t, err)
	require.Nil(t, none)
	require.Nil(t, none.Says())
	_, secret := newKeys(t)
	for _, o := range []KeyOptions{
		{Recipients: []string{"age1nonsense"}}, {Recipients: []string{secret}}, {Identities: "hush " + secret},
		{Passphrase: "hush", Recipients: []string{"age1x"}},
	} {
		_, err := ParseKeys(o)
		require.Error(t, err)
		require.NotContains(t, err.Error(), secret)
		require.NotContains(t, err.Error(), "hush")
	}
	k, err := ParseKeys(KeyOptions{Passphrase: "hush", Identities: secret})
	require.NoError(t, err)
	for _, text := range []string{fmt.Sprint(k), fmt.Sprintf("%+v", k), fmt.Sprintf("%#v", k), k.LogValue().String()} {
		require.NotContains(t, text, "hush")
		require.NotContains(t, text, secret)
	}
}

func TestArchiveIsEncryptedToo(t *testing.T) {
	s := newDir(t)
	k, _ := newKeys(t)
	file := filepath.Join(t.TempDir(), "binlog.000001")
	require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("the secret of a row ", 100)), 0o600))
	key, err := Archive(t.Context(), s, k, "shop", "n1", nil, []string{file})
	require.NoError(t, err)
	require.Equal(t, "shop/archive/n1.tar.zst.age", key)
	var rec ArchiveRecord
	data := get(t, s, "shop/archive/n1.json")
	require.NoError(t, checkSealed(data))
	require.NoError(t, json.Unmarshal(data, &rec))
	plain, err := k.open(bytes.NewReader(get(t, s, key)), rec.Encryption)
	require.NoError(t, err)
	_, err = unpackTree(plain, t.TempDir())
	require.NoError(t, err)
}

func TestLimiter(t *testing.T) {
	require.Nil(t, NewLimiter(0))
	l := NewLimiter(1 << 30)
	r := l.reader(t.Context(), bytes.NewReader(make([]byte, 1<<20)))
	n, err := io.Copy(io.Discard, r)
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, n)
	// One shared limiter at 1 MiB/s is asked for 3 pieces by two readers: the last of them passes after 2 pieces' time.
	slow := NewLimiter(1 << 20)
	slow.mu.Lock()
	require.True(t, slow.next.IsZero())
	slow.mu.Unlock()
	for range 3 {
		require.NoError(t, slow.wait(t.Context(), limitPiece/4))
	}
	slow.mu.Lock()
	ahead := slow.next
	slow.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	slow.mu.Lock()
	slow.next = ahead.Add(1 << 40)
	slow.mu.Unlock()
	require.ErrorIs(t, slow.wait(ctx, 1), context.Canceled)
}
