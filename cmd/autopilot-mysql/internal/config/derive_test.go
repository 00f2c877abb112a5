package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestSecretNeverShows(t *testing.T) {
	s := Settings{ReplPassword: "hush"}
	data, err := json.Marshal(s)
	require.NoError(t, err)
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("settings", "all", s, "one", s.ReplPassword)
	slog.New(slog.NewTextHandler(&logged, nil)).Info("settings", "all", s, "one", s.ReplPassword)
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%+v %#v %s %q", s, s, s.ReplPassword, s.ReplPassword), string(data), logged.String()} {
		require.NotContains(t, text, "hush")
		require.Contains(t, text, masked)
	}
	_, report := mustLoad(t, nil, "MYSQL_ROOT_PASSWORD=hush")
	require.NotContains(t, fmt.Sprint(report), "hush")
	require.Empty(t, Secret("").String())
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]Bytes{
		"auto": 0, "1": 1, "5M": 5 * MiB, "2g": 2 * GiB, "1 TiB": TiB, "3kb": 3 * KiB, "8388607T": 8388607 * TiB,
	} {
		var b Bytes
		require.NoError(t, b.UnmarshalText([]byte(text)), text)
		require.Equal(t, want, b, text)
	}
	for _, text := range []string{"", "0", "-1M", "M", "1.5G", "9000000T", "1X"} {
		var b Bytes
		require.Error(t, b.UnmarshalText([]byte(text)), text)
	}
	for b, want := range map[Bytes]string{0: "auto", 1: "1", 1536 * MiB: "1536M", 2 * GiB: "2G", math.MaxInt64: "9223372036854775807"} {
		require.Equal(t, want, b.String())
	}
}

func TestMemoryLimit(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	meminfo := file("MemFree: 1 kB\nMemTotal:       8388608 kB\n")
	for name, c := range map[string]struct {
		root fstest.MapFS
		want Bytes
	}{
		"nothing readable":   {fstest.MapFS{}, 0},
		"machine only":       {fstest.MapFS{"proc/meminfo": meminfo}, 8 * GiB},
		"unlimited cgroup":   {fstest.MapFS{"proc/meminfo": meminfo, "sys/fs/cgroup/memory.max": file("max\n")}, 8 * GiB},
		"v2, own namespace":  {fstest.MapFS{"proc/meminfo": meminfo, "sys/fs/cgroup/memory.max": file("536870912\n")}, 512 * MiB},
		"v1":                 {fstest.MapFS{"proc/meminfo": meminfo, "sys/fs/cgroup/memory/memory.limit_in_bytes": file("1073741824\n")}, GiB},
		"v1 without a limit": {fstest.MapFS{"proc/meminfo": meminfo, "sys/fs/cgroup/memory/memory.limit_in_bytes": file("9223372036854771712\n")}, 8 * GiB},
		"v2, a parent's limit": {fstest.MapFS{
			"proc/meminfo": meminfo, "proc/self/cgroup": file("0::/a/b\n"),
			"sys/fs/cgroup/a/b/memory.max": file("max"), "sys/fs/cgroup/a/memory.max": file("2147483648"),
		}, 2 * GiB},
	} {
		require.Equal(t, c.want, memoryLimit(c.root), name)
	}
	require.Equal(t, 358*MiB, poolFor(512*MiB))
	require.Equal(t, leastPool, poolFor(10*MiB))
	require.Equal(t, unknownPool, poolFor(0))

	s, _ := mustLoad(t, []string{"--small"})
	require.Equal(t, smallPool, s.BufferPool)
	_, report := mustLoad(t, []string{"--buffer-pool", "60T"})
	require.Len(t, report.Warnings, 1)
	require.Contains(t, report.Warnings[0], "is more than the memory there is")
}

func TestChooseAddress(t *testing.T) {
	for _, c := range []struct {
		bind  string
		addrs string
		want  string
	}{
		{"*", "127.0.0.1/8 8.8.8.8/8 fd00::1/64 10.0.0.2/8 192.168.0.1/16", "10.0.0.2"},
		{"0.0.0.0", "127.0.0.1/8 fd00::1/64 8.8.8.8/8", "8.8.8.8"},
		{"::", "::1/128 fe80::1/64 2001:db8::1/64 fd00::1/64", "fd00::1"},
		{"*", "127.0.0.1/8 ::1/128 fe80::1/64 169.254.1.1/16", ""},
		{"127.0.0.1", "10.0.0.2/8", "127.0.0.1"},
		{"localhost", "10.0.0.2/8", "127.0.0.1"},
		{"10.1.1.1", "10.0.0.2/8", "10.1.1.1"},
		{"::1", "10.0.0.2/8", "::1"},
	} {
		var ips []netip.Addr
		for _, a := range strings.Fields(c.addrs) {
			ips = append(ips, netip.MustParsePrefix(a).Addr())
		}
		require.Equal(t, c.want, chooseAddress(c.bind, ips), "%v", c)
	}
}

func TestAddresses(t *testing.T) {
	s, _ := mustLoad(t, []string{"--bind", "10.1.1.1", "--port", "3310", "--http", ":0"})
	require.Equal(t, []any{"10.1.1.1", 3310, "10.1.1.1:0", "10.1.1.1:0"}, []any{s.Advertise, s.AdvertisePort, s.HTTP, s.HTTPAdvertise})
	s, _ = mustLoad(t, []string{"--bind", "*", "--advertise", "db1.example.org", "--advertise-port", "13306", "--http-advertise", "lb:80"})
	require.Equal(t, []any{"db1.example.org", 13306, ":3308", "lb:80"}, []any{s.Advertise, s.AdvertisePort, s.HTTP, s.HTTPAdvertise})
	s, _ = mustLoad(t, []string{"--bind", "::1"})
	require.Equal(t, []any{"::1", "[::1]:3308"}, []any{s.Advertise, s.HTTP})
}

// TestReferenceIsComplete proves that nothing is accepted that the reference does not name.
func TestReferenceIsComplete(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, WriteReference(&b))
	for _, f := range fieldsOf(&Settings{}) {
		if f.hidden {
			continue
		}
		require.NotEmpty(t, f.help, f.name)
		require.Contains(t, b.String(), "| `--"+f.flagName()+"` |")
		for _, name := range f.envs {
			require.Contains(t, b.String(), "`"+name+"`")
		}
	}
	for name, why := range dead {
		require.Contains(t, b.String(), "| `"+name+"` | "+cell(why))
	}
	require.Contains(t, b.String(), "| `--lease` | `AUTOPILOT_LEASE` | `3s` |")
}

// TestNamesAreUnique: an environment name with two meanings would be read twice.
func TestNamesAreUnique(t *testing.T) {
	seen := map[string]string{}
	for _, f := range fieldsOf(&Settings{}) {
		for _, name := range f.envs {
			require.Empty(t, seen[name], "%s is also %s", f.name, seen[name])
			seen[name] = f.name
			require.NotContains(t, dead, name)
		}
	}
	for name := range conversions {
		require.NotEmpty(t, seen[name], name)
	}
}
