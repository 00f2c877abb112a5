package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// assumed are names and numbers of one particular machine.
var assumed = regexp.MustCompile(`\b(3306|3307|3308|eth0|ens\d+|docker0)\b`)

// allowed is where such a thing may stand: the declared default of a setting, and the examples in its help.
var allowed = regexp.MustCompile(`default:":?330[68]"|help:"[^"]*"`)

// TestNothingAssumesAPort: any port and any interface will do, so none is written down but as a setting's default. That
// several nodes really run beside each other on one host, each with ports of its own, is what every playground shows.
func TestNothingAssumesAPort(t *testing.T) {
	seen := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (path == filepath.Join("..", "e2e") || strings.HasPrefix(d.Name(), ".") && path != "..") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seen++
		number := 0
		for line := range strings.Lines(string(b)) {
			number++
			code, _, _ := strings.Cut(line, "//")
			if strings.Contains(line, "://") {
				code = line
			}
			if assumed.MatchString(allowed.ReplaceAllString(code, "")) {
				t.Errorf("%s:%d assumes a port or an interface: %s", path, number, strings.TrimSpace(line))
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, seen, 100, "the walk sees the product")
}
