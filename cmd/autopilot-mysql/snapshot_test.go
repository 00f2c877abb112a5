package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// fakeServer makes clones that hold one file with a text and some noise.
type fakeServer string

// CloneLocal implements snapshot.Source.
func (f fakeServer) CloneLocal(_ context.Context, dir string) (gtid.Set, error) {
	noise := make([]byte, 200<<10)
	for i, x := 0, uint32(7); i < len(noise); i++ {
		x = x*1664525 + 1013904223
		noise[i] = byte(x >> 24)
	}
	return gtid.Set{}, errors.Join(os.Mkdir(dir, 0o750), os.WriteFile(filepath.Join(dir, "ibdata1"), []byte(f), 0o640),
		os.WriteFile(filepath.Join(dir, "noise"), noise, 0o640))
}

// stocked is a directory store with snapshots of the given clusters, oldest first.
func stocked(t *testing.T, clusterIDs ...string) (dir string, ids []string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "store")
	s, err := snapshot.OpenStore("file://"+dir, snapshot.StoreOptions{})
	require.NoError(t, err)
	for i, id := range clusterIDs {
		m, err := snapshot.Create(t.Context(), s, fakeServer(fmt.Sprintf("data %d of %s", i, id)), snapshot.CreateOptions{Cluster: "shop", ClusterID: id,
			Node: "n1", MySQLVersion: "9.7.4", ScratchDir: filepath.Join(t.TempDir(), "scratch"), PartBytes: 64 << 10})
		require.NoError(t, err)
		ids = append(ids, m.ID)
		time.Sleep(2 * time.Millisecond) // times in manifests have milliseconds
	}
	return dir, ids
}

func TestSnapshotList(t *testing.T) {
	dir, ids := stocked(t, "c", "c")
	require.NoError(t, os.Remove(filepath.Join(dir, "shop/snapshots", ids[0], "part-00002.tar.zst")))
	code, out, errs := call(t, "snapshot", "list", "--store", "file://"+dir, "--cluster", "shop")
	require.Zero(t, code, errs)
	require.Contains(t, out, ids[1])
	require.Contains(t, out, "never")
	require.NotContains(t, out, ids[0])
	require.Contains(t, errs, "passed over: snapshot "+ids[0])
	require.Contains(t, errs, "part-00002.tar.zst is missing")

	code, out, errs = call(t, "snapshot", "list", "--store", "file://"+dir, "--cluster", "shop", "-o", "json")
	require.Zero(t, code)
	require.Empty(t, errs, "in JSON it is a field")
	var doc struct {
		Snapshots []struct {
			ID        string `json:"id"`
			ClusterID string `json:"cluster_id"`
			Bytes     int64  `json:"bytes"`
			Parts     int    `json:"parts"`
		} `json:"snapshots"`
		Unusable []string `json:"unusable"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &doc))
	require.Len(t, doc.Snapshots, 1)
	require.Equal(t, "c", doc.Snapshots[0].ClusterID)
	require.Equal(t, 4, doc.Snapshots[0].Parts)
	require.Len(t, doc.Unusable, 1)

	code, _, errs = call(t, "snapshot", "list", "--cluster", "shop")
	require.Equal(t, cli.Usage, code)
	require.Contains(t, errs, "no snapshot store is named")
}

func TestSnapshotRestore(t *testing.T) {
	dir, ids := stocked(t, "c", "c")
	args := []string{"snapshot", "restore", "--store", "file://" + dir, "--cluster", "shop", "--into"}
	into := filepath.Join(t.TempDir(), "data")
	code, out, errs := call(t, append(args, into)...)
	require.Zero(t, code, errs)
	require.Contains(t, out, ids[1])
	require.Equal(t, "data 1 of c", content(t, into))

	code, _, errs = call(t, append(args, into)...)
	require.Equal(t, cli.Refused, code)
	require.Contains(t, errs, "is not empty")
	require.Equal(t, "data 1 of c", content(t, into))

	into = filepath.Join(t.TempDir(), "data")
	code, out, _ = call(t, append(args, into, ids[0], "-o", "json")...)
	require.Zero(t, code)
	require.Contains(t, out, `"id": "`+ids[0]+`"`)
	require.Equal(t, "data 0 of c", content(t, into))

	code, _, errs = call(t, append(args, into, "20200101T000000Z-00000000")...)
	require.Equal(t, cli.Usage, code)
	require.Contains(t, errs, "has no snapshot 20200101T000000Z-00000000")

	dir, ids = stocked(t, "old", "new")
	into = filepath.Join(t.TempDir(), "data")
	args[3] = "file://" + dir
	code, _, errs = call(t, append(args, into)...)
	require.Equal(t, cli.Refused, code)
	require.Contains(t, errs, "two clusters of this name")
	require.NoDirExists(t, into)
	code, _, _ = call(t, append(args, into, ids[0])...)
	require.Zero(t, code)
	require.Equal(t, "data 0 of old", content(t, into))
}

func content(t *testing.T, into string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(into, "ibdata1"))
	require.NoError(t, err)
	return string(data)
}

// TestDamagedSnapshotsAreNamedAndPassedOver damages every object of the newest snapshot in every way: it is never
// restored, the object or the snapshot is named, and the next older one is used.
func TestDamagedSnapshotsAreNamedAndPassedOver(t *testing.T) {
	dir, ids := stocked(t, "c", "c")
	other, otherIDs := stocked(t, "x", "x")
	newest := filepath.Join(dir, "shop/snapshots", ids[1])
	objects, err := os.ReadDir(newest)
	require.NoError(t, err)
	require.Len(t, objects, 5)
	flip := func(at float64) func([]byte, int) []byte {
		return func(b []byte, _ int) []byte {
			b = bytes.Clone(b)
			b[int(at*float64(len(b)-1))] ^= 0x04
			return b
		}
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		return b
	}
	for i, o := range objects {
		for how, damage := range map[string]func(whole []byte, i int) []byte{
			"first byte flipped": flip(0), "a byte flipped": flip(0.31), "middle byte flipped": flip(0.5), "another byte flipped": flip(0.87), "last byte flipped": flip(1),
			"truncated": func(b []byte, _ int) []byte { return b[:len(b)/2] },
			"one short": func(b []byte, _ int) []byte { return b[:len(b)-1] },
			"emptied":   func([]byte, int) []byte { return []byte{} },
			"longer":    func(b []byte, _ int) []byte { return append(bytes.Clone(b), '\n') },
			"removed":   func([]byte, int) []byte { return nil },
			"swapped with the next": func(_ []byte, i int) []byte {
				return read(filepath.Join(newest, objects[(i+1)%len(objects)].Name()))
			},
			"replaced by the older one's":   func([]byte, int) []byte { return read(filepath.Join(dir, "shop/snapshots", ids[0], o.Name())) },
			"replaced by another cluster's": func([]byte, int) []byte { return read(filepath.Join(other, "shop/snapshots", otherIDs[1], o.Name())) },
		} {
			name := filepath.Join(newest, o.Name())
			whole := read(name)
			damaged := damage(whole, i)
			if bytes.Equal(damaged, whole) { // a part of the same noise in both
				continue
			}
			require.NoError(t, os.Remove(name))
			if damaged != nil {
				require.NoError(t, os.WriteFile(name, damaged, 0o640))
			}
			into := filepath.Join(t.TempDir(), "data")
			code, out, errs := call(t, "snapshot", "restore", "--store", "file://"+dir, "--cluster", "shop", "--into", into)
			require.Zero(t, code, "%s %s: %s", o.Name(), how, errs)
			require.Contains(t, out, ids[0], "%s %s", o.Name(), how)
			require.Equal(t, "data 0 of c", content(t, into), "%s %s", o.Name(), how)
			if o.Name() != "manifest.json" || how != "removed" { // without a manifest there is no snapshot
				require.Contains(t, errs, ids[1], "%s %s", o.Name(), how)
				if o.Name() != "manifest.json" {
					require.Contains(t, errs, o.Name(), how)
				}
			}
			require.NoDirExists(t, into+".partial")
			require.NoError(t, os.WriteFile(name, whole, 0o640))
		}
	}
	into := filepath.Join(t.TempDir(), "data")
	_, out, _ := call(t, "snapshot", "restore", "--store", "file://"+dir, "--cluster", "shop", "--into", into)
	require.Contains(t, out, ids[1], "whole again")
}

func TestSnapshotPrune(t *testing.T) {
	dir, ids := stocked(t, "c", "c", "c")
	args := []string{"snapshot", "prune", "--store", "file://" + dir, "--cluster", "shop", "--snapshot-keep", "1"}
	code, out, errs := call(t, append(args, "--dry-run")...)
	require.Zero(t, code, errs)
	require.Equal(t, 2, strings.Count(out, "would go"))
	code, out, _ = call(t, append(args, "-n", "-o", "json")...)
	require.Zero(t, code)
	require.Contains(t, out, `"removed": []`)
	for _, id := range ids {
		require.DirExists(t, filepath.Join(dir, "shop/snapshots", id), "a dry run changes nothing")
	}
	code, out, _ = call(t, args...)
	require.Zero(t, code)
	require.Equal(t, 2, strings.Count(out, "removed"))
	require.Regexp(t, ids[2]+` +.* keep +among the newest 1`, out)
	require.NoDirExists(t, filepath.Join(dir, "shop/snapshots", ids[0]))
	require.DirExists(t, filepath.Join(dir, "shop/snapshots", ids[2]))
	code, _, errs = call(t, append(args, "--snapshot-keep", "0")...)
	require.Equal(t, cli.Usage, code)
	require.Contains(t, errs, "keep at least 1")
}

// TestVerifyScratchOfAKilledCommandGoes: the directory of one that runs stays.
func TestVerifyScratchOfAKilledCommandGoes(t *testing.T) {
	parent := t.TempDir()
	dead := filepath.Join(parent, scratchPrefix+"dead")
	require.NoError(t, os.MkdirAll(filepath.Join(dead, "v", "data"), 0o700))
	first, done, err := scratchPlace(parent)
	require.NoError(t, err)
	require.NoDirExists(t, dead)
	second, doneToo, err := scratchPlace(parent)
	require.NoError(t, err)
	require.DirExists(t, first)
	require.NotEqual(t, first, second)
	done()
	doneToo()
	left, err := os.ReadDir(parent)
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestSnapshotRestoreResumes: what an interrupted command has left is gone on with, and it says so; another snapshot begins
// anew and leaves nothing; two at once are refused.
func TestSnapshotRestoreResumes(t *testing.T) {
	dir, ids := stocked(t, "c", "c")
	s, err := snapshot.OpenStore("file://"+dir, snapshot.StoreOptions{})
	require.NoError(t, err)
	list, _, err := snapshot.List(t.Context(), s, "shop")
	require.NoError(t, err)
	begun := func(into string) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		err := snapshot.Restore(ctx, s, list[0], into, snapshot.RestoreOptions{Progress: func(done, _ int64) {
			if done > 0 {
				cancel()
			}
		}})
		require.ErrorIs(t, err, context.Canceled)
	}
	into := filepath.Join(t.TempDir(), "data")
	args := []string{"snapshot", "restore", "--store", "file://" + dir, "--cluster", "shop", "--into", into}
	begun(into)
	code, out, errs := call(t, args...)
	require.Zero(t, code, errs)
	require.Regexp(t, "snapshot "+ids[1]+` resumes: [1-9] of 4 parts are there\n`, errs)
	require.Contains(t, out, ids[1])
	require.Equal(t, "data 1 of c", content(t, into))
	require.NoDirExists(t, into+".partial")

	require.NoError(t, os.RemoveAll(into))
	begun(into)
	code, _, errs = call(t, append(args, ids[0])...)
	require.Zero(t, code, errs)
	require.Regexp(t, "snapshot "+ids[0]+" begins anew: .* it is of snapshot "+ids[1], errs)
	require.Equal(t, "data 0 of c", content(t, into))
	require.NoDirExists(t, into+".partial")

	require.NoError(t, os.RemoveAll(into))
	begun(into)
	lock, err := os.Open(filepath.Join(into+".partial", "lock"))
	require.NoError(t, err)
	defer lock.Close()
	require.NoError(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
	code, _, errs = call(t, args...)
	require.Equal(t, cli.Refused, code)
	require.Contains(t, errs, "another restore into it is under way")
}
