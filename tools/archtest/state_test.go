package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPackagesHaveNoState(t *testing.T) {
	found, err := States(root)
	require.NoError(t, err)
	for _, f := range found {
		t.Error(f)
	}
}

func TestStateOnMadeUpPackages(t *testing.T) {
	for _, c := range []struct {
		source, breach string // breach is a part of the message, "" for what is allowed
	}{
		{`var table = map[string]int{"a": 1}; func f(k string) int { return table[k] }`, ""},
		{`var errNo = errors.New("no"); func f() error { err := errNo; return err }`, ""},
		{`var _ io.Writer = (*T)(nil); func f() { _ = g() }`, ""},
		{`func f() { n := 1; n++; p := &n; *p = 2 }`, ""},
		{`var n int; func f() { n = 1 }`, "n is written"},
		{`var n = 1; func f() { n++ }`, "n is written"},
		{`var n int; func f() { n += 2 }`, "n is written"},
		{`var table = map[string]int{}; func f() { table["a"] = 1 }`, "table is written"},
		{`var table = map[string]int{}; func f() { delete(table, "a") }`, "table is written"},
		{`var s struct{ a [2]int }; func f() { s.a[1] = 1 }`, "s is written"},
		{`var s []int; func f() { for _, s[0] = range []int{1} {} }`, "s is written"},
		{`var n int; func f() *int { return &n }`, "n is written"},
		{`var mu sync.Mutex; func f() { mu.Lock() }`, "mu is state"},
		{`var n = atomic.Int64{}; func f() { n.Add(1) }`, "n is state"},
		{`var once = sync.OnceValue(f); func f() int { return 1 }`, "once is state"},
		{`var c = make(chan int); func f() { c <- 1 }`, "c is state"},
	} {
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, "x.go", "package x; "+c.source, parser.SkipObjectResolution)
		require.NoError(t, err, c.source)
		found := stateOf(fset, []*ast.File{file})
		if c.breach == "" {
			require.Empty(t, found, c.source)
			continue
		}
		require.Len(t, found, 1, c.source)
		require.Contains(t, found[0], c.breach, c.source)
	}
}
