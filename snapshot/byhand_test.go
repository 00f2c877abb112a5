package snapshot

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
)

// TestReadableByHand runs the very commands of FORMAT.md: on a plain snapshot, on an encrypted one, and on archived
// binary logs.
func TestReadableByHand(t *testing.T) {
	path := handPath(t)
	lines := documented(t, "## Reading a snapshot without our tool")
	plain, encrypted := lineWith(t, lines, "cat part-*.tar.zst |"), lineWith(t, lines, "# encrypted: ")
	for name, c := range map[string]struct {
		keys    bool
		command string
	}{"plain": {false, plain}, "encrypted": {true, strings.TrimPrefix(encrypted, "# encrypted: ")}} {
		t.Run(name, func(t *testing.T) {
			s := newDir(t)
			o := options(t)
			var secret string
			if c.keys {
				o.Keys, secret = newKeys(t)
			}
			src := tree{seed: 3, bytes: 700 << 10}
			m, err := Create(t.Context(), s, src, o)
			require.NoError(t, err)
			dir := filepath.Join(s.(*dirStore).root, filepath.FromSlash(m.dir()))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "key.txt"), []byte(secret+"\n"), 0o600))

			sum := sh(t, path, dir, lineWith(t, lines, "head -n -2 manifest.json"))
			require.Contains(t, string(get(t, s, m.key())), `"checksum": "`+strings.Fields(sum)[0]+`"`)
			checked := sh(t, path, dir, lineWith(t, lines, "sha256sum -c"))
			require.Equal(t, len(m.Parts), strings.Count(checked, ": OK"), checked)
			sh(t, path, dir, c.command)
			require.Equal(t, wantTree(t, src), sums(t, filepath.Join(dir, "data")))

			// One flipped bit, and the documented check says which part it is.
			part := filepath.Join(dir, filepath.Base(m.Parts[1].Key))
			b, err := os.ReadFile(part)
			require.NoError(t, err)
			b[len(b)/2] ^= 1
			require.NoError(t, os.WriteFile(part, b, 0o600))
			out, err := shell(path, dir, lineWith(t, lines, "sha256sum -c"))
			require.Error(t, err)
			require.Contains(t, out, filepath.Base(part)+": FAILED")
		})
	}
	t.Run("binary logs", func(t *testing.T) {
		s := newDir(t)
		c := putLog(t, s, nil, someLine(1), 1, 1, "", 1, 3)
		key := c.Parts[0].Key
		dir := filepath.Join(s.(*dirStore).root, filepath.FromSlash(key[:strings.LastIndex(key, "/")]))
		sh(t, path, dir, lineWith(t, documented(t, "## Archived binary logs"), "zstd -dc"))
		got, err := os.ReadFile(strings.TrimSuffix(filepath.Join(dir, filepath.Base(key)), ".zst"))
		require.NoError(t, err)
		require.Equal(t, c.Bytes, int64(len(got)))
		require.Equal(t, "\xfebin", string(got[:4]), "a binary log file")
	})
}

// documented are the commands of the first block of sh behind a heading.
func documented(t *testing.T, heading string) []string {
	t.Helper()
	doc, err := os.ReadFile("FORMAT.md")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(doc), heading)
	require.True(t, found, heading)
	_, rest, found = strings.Cut(rest, "```sh\n")
	require.True(t, found, heading)
	block, _, found := strings.Cut(rest, "```")
	require.True(t, found, heading)
	return strings.Split(block, "\n")
}

func lineWith(t *testing.T, lines []string, text string) string {
	t.Helper()
	for _, l := range lines {
		if strings.Contains(l, text) {
			return l
		}
	}
	require.Failf(t, "not documented", "%s", text)
	return ""
}

func sh(t *testing.T, path, dir, command string) string {
	t.Helper()
	out, err := shell(path, dir, command)
	require.NoErrorf(t, err, "%s: %s", command, out)
	return out
}

func shell(path, dir, command string) (string, error) {
	cmd := exec.Command("sh", "-e", "-c", command)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+path)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// handPrograms are those of the document that a bare machine may lack. The libraries of their makers, or the few lines
// they are used for, stand in for them there.
var handPrograms = map[string]func(args []string) error{
	"zstd": func(args []string) error { // zstd -d, zstd -dc FILE
		in := os.Stdin
		if len(args) == 2 {
			var err error
			if in, err = os.Open(args[1]); err != nil {
				return err
			}
		}
		d, err := zstd.NewReader(in)
		if err != nil {
			return err
		}
		_, err = io.Copy(os.Stdout, d)
		return err
	},
	"age": func(args []string) error { // age -d -i KEYS FILE
		key, err := os.Open(args[2])
		if err != nil {
			return err
		}
		ids, err := age.ParseIdentities(key)
		if err != nil {
			return err
		}
		in := os.Stdin
		if len(args) == 4 {
			if in, err = os.Open(args[3]); err != nil {
				return err
			}
		}
		r, err := age.Decrypt(in, ids...)
		if err != nil {
			return err
		}
		_, err = io.Copy(os.Stdout, r)
		return err
	},
	"jq": func(args []string) error { // the sums of the parts, as sha256sum reads them
		b, err := os.ReadFile(args[len(args)-1])
		if err != nil {
			return err
		}
		var m Manifest
		if err := json.NewDecoder(bytes.NewReader(b)).Decode(&m); err != nil {
			return err
		}
		for _, p := range m.Parts {
			fmt.Println(p.SHA256 + "  " + path.Base(p.Key))
		}
		return nil
	},
}

// handEnv makes this test program one of handPrograms.
const handEnv = "SNAPSHOT_TEST_PROGRAM"

// handPath is a PATH on which every program of the document is found.
func handPath(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	for name := range handPrograms {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		t.Logf("no %s here: its library stands in", name)
		script := fmt.Sprintf("#!/bin/sh\n%s=%s exec '%s' \"$@\"\n", handEnv, name, self)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755))
	}
	return dir + string(os.PathListSeparator) + os.Getenv("PATH")
}

// runProgram is called instead of the tests in a stand-in.
func runProgram(name string) int {
	if err := handPrograms[name](os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		return 1
	}
	return 0
}
