package mysql

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// zoneInfo is where Linux systems keep named time zones.
const zoneInfo = "/usr/share/zoneinfo"

// timeZoneTimeout bounds the loading: about 600 zones, 1 s here.
const timeZoneTimeout = 5 * time.Minute

// batchBytes is how much generated SQL goes to the server in one call, well below max_allowed_packet.
const batchBytes = 256 << 10

// timeZones loads the named time zones. Missing tools or data are a log line, not an error: a server
// without named zones works.
func (b *bootstrapper) timeZones(ctx context.Context) error {
	tool := findBeside(b.cfg.Mysqld, "mysql_tzinfo_to_sql")
	if tool == "" {
		b.log("time zones not loaded: mysql_tzinfo_to_sql is not installed")
		return nil
	}
	if _, err := os.Stat(zoneInfo); err != nil {
		b.log("time zones not loaded: %s is missing", zoneInfo)
		return nil
	}
	var loaded bool
	if err := b.conn.QueryRowContext(ctx, "SELECT EXISTS(SELECT 1 FROM mysql.time_zone_name)").Scan(&loaded); err != nil {
		return fmt.Errorf("look for time zones: %w", err)
	}
	if loaded {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeZoneTimeout)
	defer cancel()
	if err := b.loadZones(ctx, tool); err != nil {
		return fmt.Errorf("load time zones: %w", err)
	}
	return nil
}

// loadZones pipes what the tool prints into the server.
func (b *bootstrapper) loadZones(ctx context.Context, tool string) error {
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close() //nolint:errcheck // only read
	cmd := exec.CommandContext(ctx, tool, zoneInfo)
	cmd.Stdout = in
	c, err := startChild(cmd, &lineTail{}) // complaints about odd files are no news
	if err = errors.Join(err, in.Close()); err != nil {
		return err
	}
	defer c.stop()
	if err := b.feed(ctx, out, "mysql"); err != nil {
		return err
	}
	<-c.done
	return c.explain(ctx)
}

// feed runs generated SQL, whose statements each end at the end of a line, unlogged in one database.
func (b *bootstrapper) feed(ctx context.Context, r io.Reader, database string) error {
	db := sql.OpenDB(socketConnector(b.cfg.Socket(), b.spec.Creds.Admin(), b.spec.Creds.Password, true))
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, unloggedSession+"; USE "+sqlName(database)); err != nil {
		return err
	}
	var batch strings.Builder
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		batch.WriteString(lines.Text() + "\n")
		if batch.Len() < batchBytes || !strings.HasSuffix(lines.Text(), ";") {
			continue
		}
		if _, err := conn.ExecContext(ctx, batch.String()); err != nil {
			return err
		}
		batch.Reset()
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if strings.TrimSpace(batch.String()) == "" {
		return nil
	}
	_, err = conn.ExecContext(ctx, batch.String())
	return err
}
