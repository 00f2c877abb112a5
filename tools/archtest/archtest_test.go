package archtest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// root is the module's folder, seen from this package.
var root = filepath.Join("..", "..")

func TestWhoMayImportWhom(t *testing.T) {
	files, err := Load(root)
	require.NoError(t, err)
	paths := map[string]bool{}
	for _, f := range files {
		paths[f.Path] = true
	}
	require.True(t, paths["engine/machine.go"] && paths["tools/archtest/rules.go"], "the walk sees the module")
	for _, v := range Check(files) {
		t.Error(v)
	}
}

// A rule that catches nothing proves nothing: each is shown a breach, and next
// to it the use it is meant to allow.
func TestCheckOnMadeUpImports(t *testing.T) {
	const (
		sql    = "github.com/go-sql-driver/mysql"
		consul = "github.com/hashicorp/consul/api"
		s3     = "github.com/aws/aws-sdk-go-v2/service/s3"
		fsm    = "github.com/looplab/fsm"
	)
	cases := []struct {
		file, path string
		// belongs is a part of the message, "" for an allowed import.
		belongs string
	}{
		{"engine/x.go", Module + "/mysql/gtid", "engine (declarative state machines for any stateful cluster) may import nothing of ours"},
		{"engine/x_test.go", Module + "/roles", "belongs in roles"},
		{"engine/sub/x.go", Module + "/engine", ""},
		{"mysql/gtid/x.go", Module + "/mysql", "mysql/gtid (GTID sets as values, no server needed) may import nothing of ours"},
		{"mysql/x.go", Module + "/mysql/gtid", ""},
		{"mysql/x.go", Module + "/engine", "may import only mysql/gtid"},
		{"snapshot/x.go", Module + "/mysql/gtid", ""},
		{"snapshot/x.go", Module + "/mysql", "what joins the two in cmd/autopilot-mysql"},
		{"snapshot/x_test.go", Module + "/mysql", ""},
		{"roles/x.go", Module + "/engine", ""},
		{"roles/x.go", Module + "/election", "may import only engine, mysql/gtid"},
		{"roles/x_test.go", Module + "/election", ""},
		{"roles/x_test.go", Module + "/snapshot", "belongs in snapshot"},
		{"election/x.go", Module + "/roles", "may import nothing of ours"},
		{"election/consul/x.go", Module + "/election", ""},
		{"cmd/autopilot-mysql/internal/agent/x.go", Module + "/roles", ""},
		{"cmd/autopilot-mysql/x.go", Module + "/common", "there is no such room"},
		{"common/x.go", "fmt", "is in no room"},
		{"x.go", "fmt", "is in no room"},

		{"roles/x.go", "time", ""},
		{"roles/x.go", "sync", "pure, no I/O, clock or goroutine"},
		{"roles/x.go", "os", "what touches the world belongs in cmd/autopilot-mysql"},
		{"roles/x_test.go", "os", ""},
		{"engine/x.go", "net/http", "what touches the world"},
		{"mysql/x.go", "os/exec", ""},

		{"engine/x.go", fsm, ""},
		{"roles/x.go", fsm, "a state machine is a table for engine.New"},
		{"election/consul/x.go", consul, ""},
		{"election/x.go", consul, "belongs in election/consul"},
		{"cmd/autopilot-mysql/x.go", consul, "belongs in election/consul"},
		{"cmd/autopilot-mysql/x_test.go", consul, ""},
		{"mysql/x.go", sql, ""},
		{"mysql/internal/conn/x.go", sql, ""},
		{"mysql/gtid/x.go", sql, "as a method of its Server"},
		{"mysql/gtid/x_test.go", sql, ""},
		{"cmd/autopilot-mysql/x.go", sql, "as a method of its Server"},
		{"snapshot/x.go", s3, ""},
		{"snapshot/x.go", "github.com/awsome/thing", ""},
		{"mysql/x.go", s3, "behind its Store"},
		{"snapshot/x.go", "github.com/prometheus/client_golang/prometheus", "metrics belong in cmd/autopilot-mysql"},
		{"mysql/x.go", "github.com/alecthomas/kong", "flags and settings belong in cmd/autopilot-mysql"},
		{"cmd/autopilot-mysql/x.go", "github.com/alecthomas/kong", ""},
		{"mysql/x.go", "github.com/stretchr/testify/require", "_test.go"},
		{"mysql/x_test.go", "github.com/stretchr/testify/require", ""},
		{"election/internal/conformance/x.go", "github.com/stretchr/testify/require", ""},
		{"tools/x.go", sql, ""},
	}
	for _, tc := range cases {
		t.Run(tc.file+" "+tc.path, func(t *testing.T) {
			got := Check([]File{{Path: tc.file, Imports: []string{"fmt", tc.path}}})
			if tc.belongs == "" {
				require.Empty(t, got)
				return
			}
			require.Len(t, got, 1)
			require.Contains(t, got[0].Why, tc.belongs)
			require.Contains(t, got[0].String(), tc.file, "the message names the file")
		})
	}
}

// A folder inside a room may hold help for tests, as long as only tests use it.
func TestHelpersForTestsStayOutOfTheProduct(t *testing.T) {
	helper := File{Path: "election/internal/conformance/x.go", Imports: []string{"pgregory.net/rapid"}}
	helped := Module + "/election/internal/conformance"
	require.Empty(t, Check([]File{
		helper,
		{Path: "election/x_test.go", Imports: []string{helped}},
		{Path: "election/internal/conformance/more/y.go", Imports: []string{helped, "go.uber.org/goleak"}},
	}))
	require.Equal(t, []Violation{{File: "election/x.go", Import: helped, Why: "election/internal/conformance is a package for tests, " +
		"because election/internal/conformance/x.go imports a library for tests"}},
		Check([]File{helper, {Path: "election/x.go", Imports: []string{helped}}}))
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	write("go.mod", "module m\n")
	write("a/a.go", "//go:build never\n\npackage a\n\nimport (\n\t\"fmt\"\n\tx \"example.org/x\"\n\t_ `os`\n)\n")
	write("a/testdata/t.go", "package t\nimport \"net\"\n")
	write("a/notes.txt", "import")
	write("e2e/go.mod", "module m/e2e\n")
	write("e2e/e.go", "package e\nimport \"net\"\n")
	write(".hidden/h.go", "not Go")
	files, err := Load(dir)
	require.NoError(t, err)
	require.Equal(t, []File{{Path: "a/a.go", Imports: []string{"fmt", "example.org/x", "os"}}}, files)

	write("b/b.go", "not Go")
	_, err = Load(dir)
	require.ErrorContains(t, err, "load imports: ")
}
