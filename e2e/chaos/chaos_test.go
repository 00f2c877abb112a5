package chaos

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/netns"
)

const withoutNet = "without namespaces there are no partitions; CHAOS_NET=off runs the other faults"

// TestCampaign is `make chaos`. The environment says how long, with which seed and what else; see README.md.
func TestCampaign(t *testing.T) {
	if os.Getenv("CHAOS_TIME") == "" {
		t.Skip("make chaos runs it")
	}
	if os.Getenv("CHAOS_NET") != "off" {
		require.NoError(t, netns.Permitted(), withoutNet)
	}
	o := options(t)
	t.Logf("seed %d (CHAOS_SEED=%d repeats the schedule)", o.Seed, o.Seed)
	began, source := time.Now(), commit(t)
	r, err := Run(o)
	if errors.Is(err, netns.ErrNotPermitted) {
		require.NoError(t, err, withoutNet)
	}
	if r != nil {
		for _, l := range r.Lines() {
			t.Log(l)
		}
	}
	require.NoError(t, err)
	if os.Getenv("CHAOS_REPORT") == "1" {
		report(t, r, began, source)
	}
}

// TestChaosSmoke is a short campaign: some of the faults that have found most, one after another.
func TestChaosSmoke(t *testing.T) {
	if os.Getenv("CHAOS_TIME") != "" {
		t.Skip("a campaign is running")
	}
	if err := netns.Permitted(); err != nil {
		t.Skip(err)
	}
	o := options(t)
	o.Seed, o.Time, o.Rounds, o.Consul = 1, 40*time.Minute, 4, 1 // the rounds end it
	o.Only = []string{"kill-node", "cut-all", "cut-consul-and-replicas", "freeze-node", "consul-killed", "kill-mysqld"}
	r, err := Run(o)
	if errors.Is(err, netns.ErrNotPermitted) {
		t.Skip(err)
	}
	require.NoError(t, err)
	for _, l := range r.Lines() {
		t.Log(l)
	}
	require.Equal(t, o.Rounds, r.Totals.Rounds)
	require.NotZero(t, r.Failovers)
}

func options(t *testing.T) Options {
	t.Helper()
	parts, err := find(harness.Binary(t), harness.Mysqld(t), harness.Consul(t))
	require.NoError(t, err)
	o := Options{
		Seed: seed(t), Time: duration(t, "CHAOS_TIME", 10*time.Minute), Lease: duration(t, "CHAOS_LEASE", 3*time.Second),
		Rounds: number(t, "CHAOS_ROUNDS"), From: number(t, "CHAOS_FROM"), Only: words("CHAOS_FAULTS"), Enable: words("CHAOS_ENABLE"),
		Args: words("CHAOS_ARGS"), NoNet: os.Getenv("CHAOS_NET") == "off", Dir: os.Getenv("CHAOS_DIR"), Parts: parts, Logf: t.Logf,
		Consul: number(t, "CHAOS_CONSUL"),
	}
	if o.Consul == 0 {
		o.Consul = 1 + 2*int(o.Seed%2)
	}
	require.Contains(t, []int{1, 3}, o.Consul, "CHAOS_CONSUL")
	return o
}

func seed(t *testing.T) uint64 {
	t.Helper()
	if text := os.Getenv("CHAOS_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, "CHAOS_SEED")
		return n
	}
	var b [4]byte
	_, err := rand.Read(b[:])
	require.NoError(t, err)
	return uint64(binary.LittleEndian.Uint32(b[:]))
}

func duration(t *testing.T, name string, otherwise time.Duration) time.Duration {
	t.Helper()
	if os.Getenv(name) == "" {
		return otherwise
	}
	d, err := time.ParseDuration(os.Getenv(name))
	require.NoError(t, err, name)
	return d
}

func number(t *testing.T, name string) int {
	t.Helper()
	if os.Getenv(name) == "" {
		return 0
	}
	n, err := strconv.Atoi(os.Getenv(name))
	require.NoError(t, err, name)
	return n
}

func words(name string) []string {
	return strings.FieldsFunc(os.Getenv(name), func(r rune) bool { return r == ',' || r == ' ' })
}

// report appends to the file of this seed.
func report(t *testing.T, r *Result, began time.Time, source string) {
	t.Helper()
	dir := filepath.Join("..", "reports")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	path := filepath.Join(dir, fmt.Sprintf("chaos-%d.md", r.Seed))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	require.NoError(t, err)
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() == 0 {
		fmt.Fprintf(f, "# Fault campaign, seed %d\n", r.Seed)
	}
	command := fmt.Sprintf("make chaos CHAOS_SEED=%d CHAOS_TIME=%s", r.Seed, os.Getenv("CHAOS_TIME"))
	for _, name := range []string{"CHAOS_FAULTS", "CHAOS_ENABLE", "CHAOS_NET", "CHAOS_LEASE", "CHAOS_ARGS", "CHAOS_CONSUL"} {
		if v := os.Getenv(name); v != "" {
			command += " " + name + "=" + v
		}
	}
	_, err = f.WriteString(r.Markdown(source, command))
	require.NoError(t, err)
	t.Logf("report: %s, took %v with the start", path, time.Since(began).Round(time.Second))
}

// commit names the state of the source: the newest commit, and the one that last changed the program itself.
func commit(t *testing.T) string {
	t.Helper()
	ask := func(args ...string) string {
		out, err := exec.Command("git", append([]string{"-C", "../.."}, args...)...).Output()
		require.NoError(t, err)
		return strings.TrimSpace(string(out))
	}
	text := fmt.Sprintf("%s (the program itself: %s)", ask("rev-parse", "HEAD"),
		ask("log", "-1", "--format=%H", "--", "cmd", "election", "engine", "mysql", "roles", "snapshot", "go.mod"))
	if ask("status", "--porcelain", "--untracked-files=no") != "" {
		text += ", with uncommitted changes"
	}
	return text
}
