package parts

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// tools are the programs of the tree that get a wrapper, by their path in it.
var tools = map[string]string{
	"mysqld":              "usr/sbin/mysqld",
	"mysql":               "usr/bin/mysql",
	"mysqlbinlog":         "usr/bin/mysqlbinlog",
	"mysql_tzinfo_to_sql": "usr/bin/mysql_tzinfo_to_sql",
}

// writeWrappers puts scripts into dir that run the programs of tree with the libraries of tree: the packages are newer
// than the machine's own C library. They exec, so the process is the program's own.
func writeWrappers(tree, dir string) error {
	loader, libs, err := loaderOf(tree)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("create wrapper directory: %w", err)
	}
	for name, program := range tools {
		var options []string
		if name == "mysqld" {
			options = []string{
				"--basedir=" + filepath.Join(tree, "usr"),
				"--plugin-dir=" + filepath.Join(tree, "usr/lib/mysql/plugin"),
				"--lc-messages-dir=" + filepath.Join(tree, "usr/share/mysql"),
			}
		}
		script := wrapperScript(loader, libs, filepath.Join(tree, program), options)
		if err := writeExecutable(filepath.Join(dir, name), script); err != nil {
			return err
		}
	}
	return nil
}

// wrapperScript starts program under loader. MySQL's programs want an option about defaults files in front of all
// others, so the wrapper's own options go behind it.
func wrapperScript(loader, libs, program string, options []string) string {
	quoted := make([]string, len(options))
	for i, o := range options {
		quoted[i] = shellQuote(o) + " "
	}
	own := strings.Join(quoted, "")
	return `#!/bin/sh
case "${1-}" in
--defaults-file=*|--defaults-extra-file=*|--no-defaults)
	first=$1
	shift
	set -- "$first" ` + own + `"$@"
	;;
*)
	set -- ` + own + `"$@"
	;;
esac
exec ` + shellQuote(loader) + ` --library-path ` + shellQuote(libs) + ` ` + shellQuote(program) + ` "$@"
`
}

// loaderOf finds the dynamic loader of the tree and the library folders it has to search.
func loaderOf(tree string) (loader, libs string, err error) {
	for _, pattern := range []string{"usr/lib/*-linux-gnu/ld-linux-*.so.*", "usr/lib/*-linux-gnu/ld-linux.so.*"} {
		found, err := filepath.Glob(filepath.Join(tree, pattern))
		if err != nil {
			return "", "", fmt.Errorf("find loader: %w", err)
		}
		if len(found) > 0 {
			return found[0], filepath.Dir(found[0]) + ":" + filepath.Join(tree, "usr/lib/mysql/private"), nil
		}
	}
	return "", "", fmt.Errorf("find loader: %s holds none", tree)
}

// writeExecutable replaces path by a rename, and leaves it alone when it says the same already: somebody may be
// executing it.
func writeExecutable(path, content string) error {
	if old, err := os.ReadFile(path); err == nil && string(old) == content {
		return nil
	}
	tmp := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := os.WriteFile(tmp, []byte(content), 0o755); err != nil {
		return fmt.Errorf("write wrapper: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write wrapper: %w", err)
	}
	return nil
}

func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
