package parts

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// haproxyTree is from the stable release: what most people run.
func haproxyTree() tree {
	return tree{name: "haproxy-tree", part: "haproxy", suite: "bookworm", packages: "haproxy", size: "60 MB"}
}

// findHAProxy fills in HAProxy: on PATH, else of the cache, fetched now if it is missing.
func findHAProxy(ctx context.Context, o Options, p *Parts) error {
	for _, name := range []string{"haproxy", "/usr/sbin/haproxy"} {
		if found, err := exec.LookPath(name); err == nil {
			p.HAProxy = found
			return nil
		}
	}
	wrapper := filepath.Join(o.Cache, "bin", "haproxy")
	err := ensure(ctx, o, haproxyTree(), func(ctx context.Context, dir string) error {
		loader, libs := oldLayout(dir)
		if err := os.MkdirAll(filepath.Dir(wrapper), 0o755); err != nil {
			return err
		}
		script := "#!/bin/sh\nexec " + shellQuote(loader) + " --library-path " + shellQuote(libs) + " " + shellQuote(filepath.Join(dir, "usr/sbin/haproxy")) + " \"$@\"\n"
		if err := writeExecutable(wrapper, script); err != nil {
			return err
		}
		_, err := runVersion(ctx, wrapper, "-v")
		return err
	})
	if err != nil {
		return err
	}
	p.HAProxy = wrapper
	return nil
}

// oldLayout finds loader and libraries where packages of this release have them: some in lib, some in usr/lib.
func oldLayout(tree string) (loader, libs string) {
	var dirs []string
	for _, pattern := range []string{"lib/*-linux-gnu*", "usr/lib/*-linux-gnu*"} {
		found, _ := filepath.Glob(filepath.Join(tree, pattern)) // the patterns are well-formed
		dirs = append(dirs, found...)
	}
	for _, dir := range dirs {
		if found, _ := filepath.Glob(filepath.Join(dir, "ld-linux*.so.*")); len(found) > 0 {
			loader = found[0]
		}
	}
	return loader, strings.Join(dirs, ":")
}
