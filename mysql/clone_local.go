package mysql

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// CloneLocal writes a consistent copy of this server's data into dir, which must not exist while its
// parent must. It returns gtid_executed as it was before: a lower bound of what the copy holds (its
// exact position is readable only after it was started). Writes go on meanwhile. When ctx ends the
// clone is killed and mysqld removes what it had written; the caller removes dir all the same.
func (s *Server) CloneLocal(ctx context.Context, dir string) (gtid.Set, error) {
	const op = "clone data directory"
	if !filepath.IsAbs(dir) {
		return gtid.Set{}, fmt.Errorf("%s: %q is not an absolute path", op, dir)
	}
	// As long as it takes to copy terabytes, where the caller sets no limit: a statement's own would end every larger clone.
	ctx, cancel := context.WithTimeout(ctx, cloneTimeout)
	defer cancel()
	sets, err := s.slow.query(ctx, op, "SELECT @@GLOBAL.gtid_executed AS executed")
	if err != nil {
		return gtid.Set{}, err
	}
	before, err := gtid.Parse(sets[0][0]["executed"])
	if err != nil {
		return gtid.Set{}, fmt.Errorf("%s: %w", op, err)
	}
	return before, s.slow.exec(ctx, op, "CLONE LOCAL DATA DIRECTORY = ?", dir)
}
