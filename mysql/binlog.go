package mysql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
)

// BinlogPos is a place in the binary log of one server.
type BinlogPos struct {
	File       string // base name, for instance binlog.000007
	Pos        uint64 // bytes
	SourceUUID string // server_uuid of the server whose log it is
}

// Covers tells whether p is a place in the same server's log at or after end. Unknown places cover
// nothing and are covered by nothing.
func (p BinlogPos) Covers(end BinlogPos) bool {
	if p.SourceUUID == "" || p.SourceUUID != end.SourceUUID {
		return false
	}
	base, number, ok := splitBinlogName(p.File)
	endBase, endNumber, endOK := splitBinlogName(end.File)
	if !ok || !endOK || base != endBase {
		return false
	}
	return number > endNumber || number == endNumber && p.Pos >= end.Pos
}

// splitBinlogName: numbers beyond 999999 have more digits, so names do not compare as text.
func splitBinlogName(file string) (base string, number uint64, ok bool) {
	dot := strings.LastIndexByte(file, '.')
	if dot < 0 {
		return "", 0, false
	}
	number, err := strconv.ParseUint(file[dot+1:], 10, 64)
	return file[:dot], number, err == nil
}

// EndOfBinlog is the end of the binary log now: every commit that could have collected an ACK so far
// lies before it, also those that wait and are not in gtid_executed.
//
// It looks at the files and not at SHOW BINARY LOG STATUS, which hangs when the log was to be rotated
// while a commit waits for its ACK (trap 19) — exactly when the end must be known. mysqld writes a
// transaction to the file before it waits, so the size is never too small.
func (s *Server) EndOfBinlog(ctx context.Context) (BinlogPos, error) {
	sets, err := s.status.query(ctx, "read end of binary log", binlogPlaces)
	if err != nil {
		return BinlogPos{}, err
	}
	r := sets[0][0]
	pos, err := binlogEnd(r["binlog_index"], r["datadir"], r["uuid"])
	if err != nil {
		return BinlogPos{}, fmt.Errorf("read end of binary log: %w", err)
	}
	return pos, nil
}

// RotateBinlog begins a new binary log file. A receiver that has everything up to here finds its place in it at once: a source
// reads the file of that place from the beginning. It is for a server that is not the primary: under a commit that waits for
// its ACK it would hang, and every commit behind it (trap 19).
func (s *Server) RotateBinlog(ctx context.Context) error {
	return s.slow.exec(ctx, "rotate binary log", "FLUSH BINARY LOGS")
}

const binlogPlaces = "SELECT @@GLOBAL.server_uuid AS uuid, @@GLOBAL.log_bin_index AS binlog_index, @@GLOBAL.datadir AS datadir"

func binlogEnd(index, datadir, uuid string) (BinlogPos, error) {
	// While mysqld rotates or purges, the index is replaced: look again when something is missing.
	var last error
	for range 5 {
		newest, err := newestBinlog(index, datadir)
		if err == nil && newest == "" {
			return BinlogPos{}, errors.New("the binary log is off or its index is empty")
		}
		if err == nil {
			var size uint64
			if size, err = logicalSize(newest); err == nil {
				return BinlogPos{File: filepath.Base(newest), Pos: size, SourceUUID: uuid}, nil
			}
		}
		if last = err; !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return BinlogPos{}, last
}

// newestBinlog is the path of the last binary log; "" when there is none. It reads the end of the index only: the end of the
// log is looked up several times a second, and there may be many thousands of files.
func newestBinlog(index, datadir string) (string, error) {
	f, err := os.Open(absolute(index, datadir))
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	end := make([]byte, min(info.Size(), longestPath))
	if n, err := f.ReadAt(end, info.Size()-int64(len(end))); n < len(end) {
		return "", err
	}
	line := strings.TrimRight(string(end), "\n")
	line = line[strings.LastIndexByte(line, '\n')+1:]
	if line == "" {
		return "", nil
	}
	return absolute(line, datadir), nil
}

// longestPath is more than a line of an index can have: FN_REFLEN in the server's source is 512, a path of Linux has 4096.
const longestPath = 4096 + 1

// binlogFiles are the paths of all binary logs, oldest first.
func binlogFiles(index, datadir string) ([]string, error) {
	data, err := os.ReadFile(absolute(index, datadir))
	if err != nil {
		return nil, err
	}
	var files []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimRight(line, "\n"); line == "" {
			continue
		}
		files = append(files, absolute(line, datadir))
	}
	return files, nil
}

// absolute is what mysqld means by a path in its variables and indexes: it works in its data directory.
func absolute(path, datadir string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(datadir, path)
}

// encryptedHeader is how much longer an encrypted binary log is than its positions say
// (Rpl_encryption_header::HEADER_SIZE in the server's source).
const encryptedHeader = 512

func logicalSize(path string) (uint64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size := uint64(info.Size())
	magic := make([]byte, 4)
	if _, err := io.ReadFull(f, magic); err == nil && string(magic) == "\xfdbin" && size >= encryptedHeader {
		return size - encryptedHeader, nil
	}
	return size, nil
}

// BinlogFilesHolding are the paths of the binary logs that hold at least one transaction of set,
// oldest first. When some of them are purged the others are returned together with ErrPurged.
func (s *Server) BinlogFilesHolding(ctx context.Context, set gtid.Set) ([]string, error) {
	holding, missing, err := s.filesHolding(ctx, binlogs, set)
	if err == nil && !missing.IsEmpty() {
		err = fmt.Errorf("find binary logs: %w: nothing holds %s", ErrPurged, missing)
	}
	return holding, err
}

// Logs are the files that hold certain transactions.
type Logs struct {
	// Files are binary logs and relay logs, each kind oldest first.
	Files []string
	// Missing are the transactions that are in no file any more.
	Missing gtid.Set
}

// LogsHolding finds all of set: what this server has executed is in its binary logs, what it has only received in its relay
// logs.
func (s *Server) LogsHolding(ctx context.Context, set gtid.Set) (Logs, error) {
	st, err := s.Status(ctx)
	if err != nil {
		return Logs{}, fmt.Errorf("find logs: %w", err)
	}
	files, missing, err := s.filesHolding(ctx, binlogs, set.Intersect(st.Executed))
	if err != nil {
		return Logs{}, err
	}
	received := set.Subtract(st.Executed)
	relays, unreceived, err := s.filesHolding(ctx, relayLogs, received)
	if err != nil {
		return Logs{}, err
	}
	return Logs{Files: append(files, relays...), Missing: missing.Union(unreceived)}, nil
}

// logKind is one of the two kinds of logs: what its index is, and how its events are shown.
type logKind struct{ name, index, show string }

var (
	binlogs   = logKind{"binary logs", "@@GLOBAL.log_bin_index", "SHOW BINLOG EVENTS"}
	relayLogs = logKind{"relay logs", "@@GLOBAL.relay_log_index", "SHOW RELAYLOG EVENTS"}
)

func (s *Server) filesHolding(ctx context.Context, kind logKind, set gtid.Set) (holding []string, missing gtid.Set, err error) {
	if set.IsEmpty() {
		return nil, gtid.Set{}, nil
	}
	op := "find " + kind.name
	sets, err := s.slow.query(ctx, op, "SELECT "+kind.index+" AS log_index, @@GLOBAL.datadir AS datadir")
	if err != nil {
		return nil, gtid.Set{}, err
	}
	files, err := binlogFiles(sets[0][0]["log_index"], sets[0][0]["datadir"])
	if err != nil {
		return nil, gtid.Set{}, fmt.Errorf("%s: %w", op, err)
	}
	for i := len(files) - 1; i >= 0 && !set.IsEmpty(); i-- {
		previous, err := s.previousGTIDs(ctx, kind, files[i])
		if err != nil {
			return nil, gtid.Set{}, err
		}
		if !previous.Contains(set) {
			holding = append([]string{files[i]}, holding...)
		}
		set = set.Intersect(previous)
	}
	return holding, set, nil
}

// previousGTIDs is what all logs of the kind before this one hold, as its first events say.
func (s *Server) previousGTIDs(ctx context.Context, kind logKind, path string) (gtid.Set, error) {
	op := "read first events of " + filepath.Base(path)
	sets, err := s.slow.query(ctx, op, kind.show+" IN ? LIMIT 3", filepath.Base(path))
	if err != nil {
		return gtid.Set{}, err
	}
	for _, r := range sets[0] {
		if r["Event_type"] == "Previous_gtids" {
			set, err := gtid.Parse(r["Info"])
			if err != nil {
				return gtid.Set{}, fmt.Errorf("%s: %w", op, err)
			}
			return set, nil
		}
	}
	return gtid.Set{}, fmt.Errorf("%s: no GTIDs there", op)
}
