package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// TestTheOperationsGuideKnowsEveryRefusalAndAlarm: each guard has its row, and so has each sentence of status.
func TestTheOperationsGuideKnowsEveryRefusalAndAlarm(t *testing.T) {
	b, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	guide := string(b)
	for _, guard := range roles.Guards() {
		has := strings.Contains(guide, "\n| `"+guard+"` |") // the guide is too long to be shown
		require.Truef(t, has, "the guard %s has no row in docs/operations.md", guard)
	}
	said := alarms(t)
	require.Greater(t, len(said), 20)
	for _, a := range said {
		has := strings.Contains(guide, a)
		require.Truef(t, has, "status says %q, and docs/operations.md does not explain it", a)
	}
}

// alarms are the beginnings of what status calls a problem, out of the source.
func alarms(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("internal/cluster/*.go")
	require.NoError(t, err)
	var out []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		ast.Inspect(f, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.KeyValueExpr:
				if key, ok := x.Key.(*ast.Ident); ok && key.Name == "What" {
					out = append(out, fixed(x.Value)...)
				}
			case *ast.AssignStmt:
				if sel, ok := x.Lhs[0].(*ast.SelectorExpr); ok && sel.Sel.Name == "What" {
					out = append(out, fixed(x.Rhs[0])...)
				}
			}
			return true
		})
	}
	return out
}

var verb = regexp.MustCompile(`%[a-z]|: |;`)

// fixed is the first part of the literals in e that holds no verb and is long enough to be found by.
func fixed(e ast.Expr) []string {
	first := ""
	ast.Inspect(e, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
			s, _ := strconv.Unquote(l.Value) // it compiles
			for _, part := range verb.Split(s, -1) {
				if part = strings.TrimSpace(part); first == "" && len(part) >= 8 {
					first = part
				}
			}
		}
		return true
	})
	if first == "" {
		return nil
	}
	return []string{first}
}
