package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// source is a place in the program where sentences for operators are made.
type source struct {
	what  string
	least int // so many there are at least: a test that finds nothing proves nothing
	dir   string
	files []string // empty: all
	of    func(ast.Node) []ast.Expr
	// elsewhere are expressions whose sentences are found at their own place.
	elsewhere []string
}

// sentence is the part of one that a reader can find it by.
type sentence struct{ at, text string }

// field finds what is given to a field of that name.
func field(name string) func(ast.Node) []ast.Expr {
	return func(n ast.Node) []ast.Expr {
		switch x := n.(type) {
		case *ast.KeyValueExpr:
			if key, ok := x.Key.(*ast.Ident); ok && key.Name == name {
				return []ast.Expr{x.Value}
			}
		case *ast.AssignStmt:
			for i, l := range x.Lhs {
				if sel, ok := l.(*ast.SelectorExpr); ok && sel.Sel.Name == name && len(x.Rhs) == len(x.Lhs) {
					return []ast.Expr{x.Rhs[i]}
				}
			}
		}
		return nil
	}
}

// called finds an argument of the calls of a function.
func called(name string, arg int) func(ast.Node) []ast.Expr {
	return func(n ast.Node) []ast.Expr {
		if call, ok := n.(*ast.CallExpr); ok && nameOf(call.Fun) == name && len(call.Args) > arg {
			return call.Args[arg : arg+1]
		}
		return nil
	}
}

// returned finds what a function returns first.
func returned(name string) func(ast.Node) []ast.Expr {
	return func(n ast.Node) (out []ast.Expr) {
		if f, ok := n.(*ast.FuncDecl); ok && f.Name.Name == name {
			ast.Inspect(f, func(n ast.Node) bool {
				if r, ok := n.(*ast.ReturnStmt); ok && len(r.Results) > 0 {
					out = append(out, r.Results[0])
				}
				return true
			})
		}
		return out
	}
}

// appended finds what is added to a variable.
func appended(name string) func(ast.Node) []ast.Expr {
	return func(n ast.Node) []ast.Expr {
		if call, ok := n.(*ast.CallExpr); ok && nameOf(call.Fun) == "append" && nameOf(call.Args[0]) == name {
			return call.Args[1:]
		}
		return nil
	}
}

// valueOf finds the value of a variable of the package.
func valueOf(name string) func(ast.Node) []ast.Expr {
	return func(n ast.Node) []ast.Expr {
		if v, ok := n.(*ast.ValueSpec); ok && v.Names[0].Name == name {
			return v.Values
		}
		return nil
	}
}

func either(a, b func(ast.Node) []ast.Expr) func(ast.Node) []ast.Expr {
	return func(n ast.Node) []ast.Expr { return append(a(n), b(n)...) }
}

func nameOf(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.Ident:
		return x.Name
	case *ast.SelectorExpr:
		return x.Sel.Name
	}
	return ""
}

// read parses the source and resolves what it finds. What cannot be resolved and is not said elsewhere fails the test: a
// sentence nobody looked at is one that nobody explained.
func (s source) read(t *testing.T) (out []sentence) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(s.dir, "*.go"))
	require.NoError(t, err)
	set := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		if !strings.HasSuffix(name, "_test.go") {
			f, err := parser.ParseFile(set, name, nil, 0)
			require.NoError(t, err)
			files = append(files, f)
		}
	}
	r := resolver{constants: constantsOf(files)}
	for _, f := range files {
		if s.files != nil && !slices.Contains(s.files, filepath.Base(set.Position(f.Pos()).Filename)) {
			continue
		}
		for _, d := range f.Decls {
			ast.Inspect(d, func(n ast.Node) bool {
				for _, e := range s.of(n) {
					at := set.Position(e.Pos())
					texts := r.texts(e, d, 0)
					for _, text := range texts {
						out = append(out, sentence{fmt.Sprintf("%s:%d", filepath.Base(at.Filename), at.Line), text})
					}
					if len(texts) == 0 && !s.isElsewhere(set, e) {
						t.Errorf("%s: %s: nobody knows what this says: %s", s.what, at, sourceOf(set, e))
					}
				}
				return true
			})
		}
	}
	return out
}

func (s source) isElsewhere(set *token.FileSet, e ast.Expr) bool {
	text := sourceOf(set, e)
	return text == `""` || slices.ContainsFunc(s.elsewhere, func(x string) bool { return strings.Contains(text, x) })
}

func sourceOf(set *token.FileSet, e ast.Expr) string {
	var b strings.Builder
	_ = printer.Fprint(&b, set, e)
	return b.String()
}

// constantsOf are the constants and variables of a package that have a text.
func constantsOf(files []*ast.File) map[string]ast.Expr {
	out := map[string]ast.Expr{}
	for _, f := range files {
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok {
				for _, spec := range g.Specs {
					if v, ok := spec.(*ast.ValueSpec); ok && len(v.Values) == len(v.Names) {
						for i, name := range v.Names {
							out[name.Name] = v.Values[i]
						}
					}
				}
			}
		}
	}
	return out
}

// resolver finds the fixed words of expressions.
type resolver struct{ constants map[string]ast.Expr }

// verb ends a fixed part of a format, and so does what begins another half sentence.
var verb = regexp.MustCompile(`%[+#]?[a-zA-Z]|: |;|\(`)

// shortest is the shortest part that can be found by.
const shortest = 7

// texts are the sentences an expression may come to: one, or several for a variable that is set in several places.
func (r resolver) texts(e ast.Expr, within ast.Node, depth int) []string {
	if depth > 4 {
		return nil
	}
	switch x := e.(type) {
	case *ast.BasicLit:
		return fixed(x)
	case *ast.ParenExpr:
		return r.texts(x.X, within, depth)
	case *ast.BinaryExpr:
		if left := r.texts(x.X, within, depth); len(left) > 0 {
			return left
		}
		return r.texts(x.Y, within, depth)
	case *ast.CallExpr:
		switch nameOf(x.Fun) {
		case "Sprintf", "Errorf", "New":
			return r.texts(x.Args[0], within, depth)
		case "Error": // of an error that a variable holds
			if sel, ok := x.Fun.(*ast.SelectorExpr); ok {
				return r.texts(sel.X, within, depth+1)
			}
		}
	case *ast.Ident:
		if c, ok := r.constants[x.Name]; ok {
			return r.texts(c, within, depth+1)
		}
		return r.assigned(x.Name, within, depth)
	}
	return nil
}

// assigned are the sentences a local variable is given.
func (r resolver) assigned(name string, within ast.Node, depth int) (out []string) {
	ast.Inspect(within, func(n ast.Node) bool {
		if a, ok := n.(*ast.AssignStmt); ok && len(a.Lhs) == len(a.Rhs) {
			for i, l := range a.Lhs {
				if id, ok := l.(*ast.Ident); ok && id.Name == name {
					out = append(out, r.texts(a.Rhs[i], within, depth+1)...)
				}
			}
		}
		return true
	})
	return out
}

// fixed is the first part of a literal that is long enough to be found by.
func fixed(l *ast.BasicLit) []string {
	if l.Kind != token.STRING {
		return nil
	}
	s, _ := strconv.Unquote(l.Value) // it compiles
	for _, part := range verb.Split(s, -1) {
		if part = strings.Trim(part, " ,.)"); len(part) >= shortest {
			return []string{part}
		}
	}
	return nil
}
