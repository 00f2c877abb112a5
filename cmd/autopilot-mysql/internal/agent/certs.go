package agent

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/mysql"
)

// certificates notices that the files of mysqld's TLS certificates were replaced, and has them read again.
type certificates struct {
	srv   *mysql.Server // the one that was asked which files it uses
	files []string
	seen  map[string]stamp
	tried map[string]stamp // nil: nobody knows what the server has read
}

// stamp tells one content of a file from another without reading it: a key may not be readable for us.
type stamp struct {
	at   time.Time
	size int64
}

// look reloads when a file has changed, and once for every server: it may have been replaced between the server's start and
// the first look.
func (c *certificates) look(ctx context.Context, a *Agent) {
	if c.srv != a.srv {
		files, err := a.srv.TLSFiles(ctx)
		if err != nil {
			return
		}
		for i, f := range files {
			if !filepath.IsAbs(f) {
				files[i] = filepath.Join(a.mycfg.DataDir(), f)
			}
		}
		*c = certificates{srv: a.srv, files: files}
	}
	changed := c.tried != nil
	if !c.due(c.stamps()) {
		return
	}
	if err := a.srv.ReloadTLS(ctx); err != nil {
		a.Log.Error("the new TLS certificates cannot be used; mysqld goes on with the former ones", "err", err)
		return
	}
	if changed {
		a.Log.Info("TLS certificates read again; open connections keep the former ones")
	}
}

// due tells whether the files are to be read: not before they are the same at two looks in a row, so that certificate and
// key are both there.
func (c *certificates) due(now map[string]stamp) bool {
	if !equalStamps(now, c.seen) {
		c.seen = now
		return false
	}
	if len(now) == 0 || equalStamps(now, c.tried) {
		return false
	}
	c.tried = now
	return true
}

func (c *certificates) stamps() map[string]stamp {
	out := map[string]stamp{}
	for _, f := range c.files {
		if info, err := os.Stat(f); err == nil {
			out[f] = stamp{info.ModTime(), info.Size()}
		}
	}
	return out
}

func equalStamps(a, b map[string]stamp) bool {
	if len(a) != len(b) {
		return false
	}
	for f, s := range a {
		if o, ok := b[f]; !ok || !o.at.Equal(s.at) || o.size != s.size {
			return false
		}
	}
	return true
}
