package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// States finds mutable state of packages in the modules at root: package variables that something writes to or takes the
// address of, and those of a type made for being changed by several. A table nobody writes is none. Tests may have some.
func States(root string) ([]string, error) {
	packages := map[string][]*ast.File{}
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")) {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		packages[filepath.Dir(path)] = append(packages[filepath.Dir(path)], file)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load packages: %w", err)
	}
	var found []string
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		found = append(found, stateOf(fset, packages[dir])...)
	}
	return found, nil
}

// stateOf judges one package. Names are compared, not resolved: a local variable that is written must not bear the name of
// a package variable, which is no loss.
func stateOf(fset *token.FileSet, files []*ast.File) (found []string) {
	vars := map[string]bool{}
	for _, v := range declared(files) {
		for _, name := range v.Names {
			vars[name.Name] = name.Name != "_"
		}
		if shared(v) {
			found = append(found, fmt.Sprintf("%s: the package variable %s is state; give it to the value that needs it", fset.Position(v.Pos()), v.Names[0]))
		}
	}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			for _, e := range written(n) {
				if name := rootName(e); vars[name] {
					found = append(found, fmt.Sprintf("%s: the package variable %s is written; give the state to the value that needs it", fset.Position(e.Pos()), name))
				}
			}
			return true
		})
	}
	return found
}

// declared are the declarations of package variables.
func declared(files []*ast.File) (vars []*ast.ValueSpec) {
	for _, f := range files {
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.VAR {
				for _, s := range g.Specs {
					vars = append(vars, s.(*ast.ValueSpec))
				}
			}
		}
	}
	return vars
}

// shared reports a variable of a type out of sync or sync/atomic, or a channel.
func shared(v *ast.ValueSpec) (yes bool) {
	for _, e := range append([]ast.Expr{v.Type}, v.Values...) {
		if e == nil {
			continue
		}
		ast.Inspect(e, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncLit:
				return false
			case *ast.ChanType:
				yes = true
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && (x.Name == "sync" || x.Name == "atomic") {
					yes = true
				}
			}
			return true
		})
	}
	return yes
}

// written are the operands that a node changes, or could let others change.
func written(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			return n.Lhs
		}
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	case *ast.RangeStmt:
		if n.Tok == token.ASSIGN {
			return []ast.Expr{n.Key, n.Value}
		}
	case *ast.UnaryExpr:
		if n.Op == token.AND {
			return []ast.Expr{n.X}
		}
	case *ast.CallExpr:
		if f, ok := n.Fun.(*ast.Ident); ok && len(n.Args) > 0 && (f.Name == "delete" || f.Name == "clear" || f.Name == "copy") {
			return n.Args[:1]
		}
	}
	return nil
}

// rootName is the variable an expression is a part of.
func rootName(e ast.Expr) string {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x.Name
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return ""
		}
	}
}
