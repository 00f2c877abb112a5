package demo

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheResultIsADocument(t *testing.T) {
	d := &demo{books: newBooks(), gap: 1500 * time.Millisecond, took: 20 * time.Second}
	d.books.note(1)
	d.check(true, "nothing lost", "%d of 1", 0)
	var out strings.Builder
	require.NoError(t, d.document(&out, nil))
	require.JSONEq(t, `{"ok": true, "checks": [{"what": "nothing lost", "ok": true, "seen": "0 of 1"}], "acknowledged": 1, "refused_or_unknown": 0,
		"write_gap_seconds": 1.5, "seconds": 20}`, out.String())

	out.Reset()
	require.NoError(t, (&demo{}).document(&out, errors.New("no mysqld")))
	require.JSONEq(t, `{"ok": false, "checks": [], "acknowledged": 0, "refused_or_unknown": 0, "write_gap_seconds": 0, "seconds": 0, "error": "no mysqld"}`, out.String())
}
