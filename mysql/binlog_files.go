package mysql

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// BinlogFile is one binary log as it lies on the disk.
type BinlogFile struct {
	Name     string // base name
	Size     uint64 // bytes
	Modified time.Time
}

// BinlogFiles are the server's binary logs, oldest first. Like EndOfBinlog it looks at the files, because the statement
// can hang while a commit waits.
func (s *Server) BinlogFiles(ctx context.Context) ([]BinlogFile, error) {
	const op = "list binary logs"
	sets, err := s.status.query(ctx, op, binlogPlaces)
	if err != nil {
		return nil, err
	}
	paths, err := binlogFiles(sets[0][0]["binlog_index"], sets[0][0]["datadir"])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	var out []BinlogFile
	for _, path := range paths {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // purged since the index was read
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
		out = append(out, BinlogFile{Name: filepath.Base(path), Size: uint64(info.Size()), Modified: info.ModTime()})
	}
	return out, nil
}
