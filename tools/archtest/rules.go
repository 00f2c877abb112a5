// Package archtest proves who may import whom. The rules are the tables in this
// file; the test reads the import statements of the whole module and tells an
// offender which room the thing belongs in.
package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// Module is the path of the module whose files are judged.
const Module = "github.com/autopilot-mysql/autopilot-mysql"

// room is a folder with one purpose, subfolders included.
type room struct {
	// dir is the folder, relative to the module's root.
	dir string
	// is says what the room is for.
	is string
	// ours lists the other rooms it may import; tests lists further ones that
	// only its _test.go files may.
	ours, tests []string
	// all lifts both lists: the room wires the others together.
	all bool
	// not lists standard packages that would break the room's promise; its
	// tests may use them.
	not []string
}

// outside returns the standard packages that touch the world.
func outside() []string {
	return []string{"database/sql", "io/ioutil", "net", "net/http", "os", "os/exec", "os/signal", "syscall"}
}

// rooms lists every folder that may hold Go code. The longest match counts.
func rooms() []room {
	return []room{
		{dir: "engine", is: "declarative state machines for any stateful cluster", not: outside()},
		{dir: "roles", is: "what a node may be and why it changes: pure, no I/O, clock or goroutine",
			ours: []string{"engine", "mysql/gtid"}, tests: []string{"election"}, not: append([]string{"sync", "log/slog", "log"}, outside()...)},
		{dir: "mysql/gtid", is: "GTID sets as values, no server needed", not: outside()},
		{dir: "mysql/binlog", is: "binary log files: where transactions lie in them, no server needed", ours: []string{"mysql/gtid"}, not: outside()},
		{dir: "mysql", is: "one mysqld: process, configuration, SQL, status as values", ours: []string{"mysql/gtid", "mysql/binlog"}},
		{dir: "snapshot", is: "snapshots and the stores that keep them", ours: []string{"mysql/gtid", "mysql/binlog"}, tests: []string{"mysql"}},
		{dir: "election", is: "one lock, one holder, a lease with a local deadline"},
		{dir: "cmd/autopilot-mysql", is: "wiring and words", all: true},
		{dir: "tools", is: "what builds and checks the product", all: true},
	}
}

// library is a dependency that only one room may know.
type library struct {
	// path is the import path's beginning, up to a slash.
	path string
	// in lists the folders whose code may import it.
	in []string
	// tests lists folders whose _test.go files may, too: they act as the
	// application or look at what the product left behind.
	tests []string
	// belongs is where the offender's code should go.
	belongs string
}

// libraries lists the restricted dependencies; others are free.
func libraries() []library {
	return []library{
		{path: "github.com/looplab/fsm", in: []string{"engine"},
			belongs: "a state machine is a table for engine.New"},
		{path: "github.com/hashicorp/consul", in: []string{"election/consul"}, tests: []string{"cmd/autopilot-mysql"},
			belongs: "talking to Consul belongs in election/consul, used through an interface of the consumer"},
		{path: "github.com/go-sql-driver/mysql", in: []string{"mysql"}, tests: []string{"mysql/gtid", "cmd/autopilot-mysql"},
			belongs: "a statement for mysqld belongs in mysql, as a method of its Server"},
		{path: "github.com/aws", in: []string{"snapshot"}, tests: []string{"cmd/autopilot-mysql"},
			belongs: "object storage belongs in snapshot, behind its Store"},
		{path: "github.com/alecthomas/kong", in: []string{"cmd/autopilot-mysql"},
			belongs: "flags and settings belong in cmd/autopilot-mysql; take a plain struct"},
		{path: "github.com/prometheus", in: []string{"cmd/autopilot-mysql"},
			belongs: "metrics belong in cmd/autopilot-mysql; return values that it can count"},
		{path: "github.com/stretchr/testify", belongs: testOnly},
		{path: "pgregory.net/rapid", belongs: testOnly},
		{path: "go.uber.org/goleak", belongs: testOnly},
	}
}

// testOnly marks a library that must not become a part of the product: only
// tests may import it, and helper packages that only tests import.
const testOnly = "it belongs in a _test.go file, or in a helper package that only tests import"

// File is one Go file as far as the rules care.
type File struct {
	// Path relative to the module's root, with slashes.
	Path string
	// Imports are the import paths.
	Imports []string
}

// dir is the file's folder, "." for the root.
func (f File) dir() string {
	if i := strings.LastIndexByte(f.Path, '/'); i >= 0 {
		return f.Path[:i]
	}
	return "."
}

// isTest reports whether the file is compiled into tests only.
func (f File) isTest() bool { return strings.HasSuffix(f.Path, "_test.go") }

// helpersOf finds the packages that are for tests because a file of theirs,
// not itself a test, imports a library for tests: folder → that file.
func helpersOf(files []File) map[string]string {
	helpers := map[string]string{}
	for _, f := range files {
		forTests := slices.ContainsFunc(f.Imports, func(path string) bool {
			return slices.ContainsFunc(libraries(), func(l library) bool { return l.belongs == testOnly && within(path, l.path) })
		})
		if forTests && !f.isTest() {
			helpers[f.dir()] = f.Path
		}
	}
	return helpers
}

// Violation is one import that breaks a rule.
type Violation struct {
	// File and Import are what the source says.
	File, Import string
	// Why names the rule and where the thing belongs.
	Why string
}

func (v Violation) String() string {
	if v.Import == "" {
		return fmt.Sprintf("%s: %s", v.File, v.Why)
	}
	return fmt.Sprintf("%s imports %s: %s", v.File, v.Import, v.Why)
}

// Check judges files by the rules and returns every violation in their order.
func Check(files []File) []Violation {
	var found []Violation
	helpers := helpersOf(files)
	for _, f := range files {
		home, ok := roomOf(f.dir())
		if !ok {
			found = append(found, Violation{File: f.Path, Why: "is in no room; the folders are fixed: " + roomNames()})
			continue
		}
		for _, path := range f.Imports {
			why := judge(f, home, path)
			if why == "" {
				why = judgeHelper(f, helpers, path)
			}
			if why != "" {
				found = append(found, Violation{f.Path, path, why})
			}
		}
	}
	return found
}

// judge returns why the file may not import path, "" if it may.
func judge(f File, home room, path string) string {
	if path == Module || strings.HasPrefix(path, Module+"/") {
		return judgeOurs(f, home, strings.TrimPrefix(strings.TrimPrefix(path, Module), "/"))
	}
	if slices.Contains(home.not, path) && !f.isTest() {
		return fmt.Sprintf("%s is %s; what touches the world belongs in cmd/autopilot-mysql and comes in as a value or an interface", home.dir, home.is)
	}
	if home.dir == "tools" {
		return ""
	}
	for _, lib := range libraries() {
		if within(path, lib.path) && !lib.allows(f, home) {
			return lib.belongs
		}
	}
	return ""
}

// judgeHelper returns why the product may not import a package for tests.
func judgeHelper(f File, helpers map[string]string, path string) string {
	dir, ours := strings.CutPrefix(path, Module+"/")
	by := helpers[dir]
	if !ours || by == "" || f.isTest() || helpers[f.dir()] != "" {
		return ""
	}
	return fmt.Sprintf("%s is a package for tests, because %s imports a library for tests", dir, by)
}

func judgeOurs(f File, home room, path string) string {
	target, ok := roomOf(path)
	switch {
	case !ok:
		return "there is no such room; the folders are fixed: " + roomNames()
	case home.all, target.dir == home.dir, slices.Contains(home.ours, target.dir):
		return ""
	case f.isTest() && slices.Contains(home.tests, target.dir):
		return ""
	}
	may := "nothing of ours"
	if len(home.ours) > 0 {
		may = "only " + strings.Join(home.ours, ", ")
	}
	return fmt.Sprintf("%s (%s) may import %s; what is about %s belongs in %s, what joins the two in cmd/autopilot-mysql",
		home.dir, home.is, may, target.is, target.dir)
}

// allows reports whether the file may import the library.
func (l library) allows(f File, home room) bool {
	if l.belongs == testOnly {
		// A package that something imports is judged there; see judgeHelper.
		return f.isTest() || f.dir() != home.dir
	}
	// mysql/gtid lies below mysql, but is a room of its own.
	here := func(dir string) bool {
		owner, _ := roomOf(dir)
		return within(f.dir(), dir) && owner.dir == home.dir
	}
	return slices.ContainsFunc(l.in, here) || f.isTest() && slices.ContainsFunc(l.tests, here)
}

// roomOf finds the room a folder lies in: the one with the longest match.
func roomOf(dir string) (best room, ok bool) {
	for _, r := range rooms() {
		if within(dir, r.dir) && len(r.dir) > len(best.dir) {
			best, ok = r, true
		}
	}
	return best, ok
}

// within reports whether path is root or below it.
func within(path, root string) bool {
	return path == root || strings.HasPrefix(path, root+"/")
}

func roomNames() string {
	var names []string
	for _, r := range rooms() {
		names = append(names, r.dir)
	}
	return strings.Join(names, ", ")
}
