package snapshot

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// childEnv makes this test program a child that takes or restores a snapshot until it is killed.
const childEnv = "SNAPSHOT_TEST_CHILD"

// childWork is what the child does: the words of childEnv are what, store, directory, and in front of which part a restore
// waits for ever, if any.
func childWork(words []string) error {
	s, err := OpenStore("file://"+words[1], StoreOptions{})
	if err != nil {
		return err
	}
	f := slow(s)
	if words[0] == "create" {
		_, err = Create(context.Background(), f, tree{seed: 1, bytes: 900 << 10}, CreateOptions{Cluster: "shop", ClusterID: "id-1", Node: "n1",
			MySQLVersion: "9.7.4", ScratchDir: words[2], PartBytes: 100 << 10})
		return err
	}
	list, _, err := List(context.Background(), s, "shop")
	if err != nil {
		return err
	}
	m := list[len(list)-1]
	if get := f.get; len(words) > 3 {
		f.get = func(key string, b ioBody) (ioBody, error) {
			if strings.Contains(key, "/part-") && key >= m.partKey(must(strconv.Atoi(words[3]))) {
				select {}
			}
			return get(key, b)
		}
	}
	return Restore(context.Background(), f, m, words[2], RestoreOptions{})
}

// child runs it, kills it after some time unless it has ended, and tells whether it came to its end.
func child(t *testing.T, after time.Duration, words ...string) (whole bool, took time.Duration) {
	t.Helper()
	return childUntil(t, func(begun time.Time) bool { return time.Since(begun) >= after }, words...)
}

// childUntil is child that kills as soon as the moment has come.
func childUntil(t *testing.T, moment func(begun time.Time) bool, words ...string) (whole bool, took time.Duration) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+strings.Join(words, "\n"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	_, err = out.Read(make([]byte, 1)) // it begins now
	require.NoError(t, err)
	begun := time.Now()
	ended := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() {
		for !moment(begun) {
			select {
			case <-ended:
				return
			case <-time.After(200 * time.Microsecond):
			}
		}
		_ = cmd.Process.Kill()
	})
	err = cmd.Wait()
	close(ended)
	killer.Wait()
	if err != nil {
		require.Equal(t, syscall.SIGKILL, cmd.ProcessState.Sys().(syscall.WaitStatus).Signal(), "it failed by itself")
	}
	return err == nil, time.Since(begun)
}

// TestKilledWhileTaking kills the process at twenty points of taking a snapshot: nothing half is ever listed, the next
// start cleans up, the next snapshot works.
func TestKilledWhileTaking(t *testing.T) {
	dir, scratch := filepath.Join(t.TempDir(), "store"), filepath.Join(t.TempDir(), "scratch")
	s, err := OpenStore("file://"+dir, StoreOptions{})
	require.NoError(t, err)
	whole, took := child(t, time.Minute, "create", dir, scratch)
	require.True(t, whole)
	complete, killed := 1, 0
	for killed < 20 {
		ok, _ := child(t, time.Duration(rand.Int64N(int64(took))), "create", dir, scratch)
		if ok {
			complete++
		} else {
			killed++
		}
		list, bad, err := List(t.Context(), s, "shop")
		require.NoError(t, err)
		require.Empty(t, bad)
		// Killed after the manifest was there, and before the process could say so: a whole one as well.
		require.Contains(t, []int{complete, complete + 1}, len(list))
		complete = len(list)
		require.NoError(t, CleanScratch(scratch))
		requireEmpty(t, scratch)
	}
	list, _, err := List(t.Context(), s, "shop")
	require.NoError(t, err)
	for _, m := range list {
		dest := filepath.Join(t.TempDir(), "data")
		require.NoError(t, Restore(t.Context(), s, m, dest, RestoreOptions{}))
		require.Equal(t, wantTree(t, tree{seed: 1, bytes: 900 << 10}), sums(t, dest))
	}
	_, err = Retire(t.Context(), s, "shop", Retention{Keep: 1, OrphanAge: time.Nanosecond})
	require.NoError(t, err)
	files := 0
	require.NoError(t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			require.Contains(t, name, list[0].ID, "a leftover")
			files++
		}
		return err
	}))
	require.Equal(t, len(list[0].Parts)+1, files)
	t.Logf("%d complete, %d killed", complete, killed)
}

// TestKilledWhileRestoring kills the process at many points of a restore, and every process goes on with what the one
// before has left: the destination is whole or not there, and in the end it is whole and nothing else is left.
func TestKilledWhileRestoring(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s, err := OpenStore("file://"+dir, StoreOptions{})
	require.NoError(t, err)
	create(t, s)
	want := wantTree(t, tree{seed: 1, bytes: 900 << 10})
	dest := filepath.Join(t.TempDir(), "data")
	whole, took := child(t, time.Minute, "restore", dir, dest)
	require.True(t, whole)
	require.Equal(t, want, sums(t, dest))
	killed := 0
	for killed < 20 {
		require.NoError(t, os.RemoveAll(dest))
		if whole, _ := child(t, time.Duration(rand.Int64N(int64(took))/2), "restore", dir, dest); whole {
			require.NoDirExists(t, dest+workSuffix)
		} else {
			killed++
		}
		if _, err := os.Stat(dest); err == nil {
			require.Equal(t, want, sums(t, dest))
		}
	}
	require.NoError(t, os.RemoveAll(dest))
	whole, _ = child(t, time.Minute, "restore", dir, dest)
	require.True(t, whole)
	require.Equal(t, want, sums(t, dest))
	require.NoDirExists(t, dest+workSuffix)
}

// TestKilledBehindEveryPart kills a restore behind each part, and the next process goes on from there.
func TestKilledBehindEveryPart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s, err := OpenStore("file://"+dir, StoreOptions{})
	require.NoError(t, err)
	src := mixed(400<<10, 60)
	o := options(t)
	o.PartBytes = 60_000
	m, err := Create(t.Context(), s, src, o)
	require.NoError(t, err)
	dest := filepath.Join(t.TempDir(), "data")
	name := filepath.Join(dest+workSuffix, "journal")
	unpacked := func() int {
		journal, _ := os.ReadFile(name) // in the beginning it is not there
		return bytes.Count(journal, []byte("\n")) - 1
	}
	for n := 1; n < len(m.Parts); n++ {
		whole, _ := childUntil(t, func(time.Time) bool { return unpacked() >= n }, "restore", dir, dest, strconv.Itoa(n+1))
		require.False(t, whole, "killed behind part %d of %d", n, len(m.Parts))
		require.Equal(t, n, unpacked())
		require.NoDirExists(t, dest)
	}
	var fetched counting
	require.NoError(t, Restore(t.Context(), fetched.store(s), m, dest, RestoreOptions{}))
	for i, p := range m.Parts {
		require.Equal(t, i == len(m.Parts)-1, fetched.of[p.Key] > 0, "only the last part was missing")
	}
	require.Equal(t, wantTree(t, src), sums(t, dest))
	require.NoDirExists(t, dest+workSuffix)
}

// runChild is called instead of the tests in a child.
func runChild() int {
	fmt.Print(".")
	if err := childWork(strings.Split(os.Getenv(childEnv), "\n")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
