package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// reconnect measures how long it takes until a follower that connects anew has the next write, by the size of the binary log
// file that the source finds its place in: it reads the file from the beginning. After a failover that is time without writes.
func reconnect(t *testing.T, r *result) {
	all := bareServers(t, 2, append([]string{"--max-binlog-size=1073741824"}, semiSync...)...)
	source, follower := all[0], all[1]
	follower.do("SET GLOBAL super_read_only=ON")
	follower.follow(source)
	source.do("CREATE TABLE "+schema+".filler (id BIGINT AUTO_INCREMENT PRIMARY KEY, v VARBINARY(600))",
		"CREATE PROCEDURE "+schema+".fill(n INT) BEGIN WHILE n > 0 DO INSERT INTO "+schema+".filler (v) VALUES (REPEAT('x', 600)); SET n = n - 1; END WHILE; END",
		"FLUSH BINARY LOGS")
	app, err := openBare(source.addr())
	require.NoError(t, err)
	defer app.Close()
	next := 0
	measure := func(name string) {
		for range rounds(5) {
			next++
			follower.do("STOP REPLICA IO_THREAD")
			_, err := app.Exec(fmt.Sprintf("INSERT INTO %s.%s VALUES (%d)", schema, table, next))
			require.NoError(t, err)
			executed := source.value("SELECT @@GLOBAL.gtid_executed")
			began := time.Now()
			follower.do("START REPLICA IO_THREAD")
			require.Equal(t, "0", follower.value(fmt.Sprintf("SELECT WAIT_FOR_EXECUTED_GTID_SET('%s', 60)", executed)))
			r.of(name, "ms").took(time.Since(began))
		}
	}
	for _, b := range all { // only while filling: what it costs to make a log is not measured
		b.do("SET GLOBAL sync_binlog=0", "SET GLOBAL innodb_flush_log_at_trx_commit=0")
	}
	measure("file of 0 MiB")
	have, transactions := 0, 0
	for _, mib := range []int{16, 64, 256} {
		for have < mib<<20 {
			source.do(fmt.Sprintf("CALL %s.fill(%d)", schema, 4000))
			transactions += 4000
			follower.await(fmt.Sprintf("SELECT GTID_SUBSET('%s', @@GLOBAL.gtid_executed)", source.value("SELECT @@GLOBAL.gtid_executed")))
			have = source.binlogSize()
		}
		measure(fmt.Sprintf("file of %d MiB", mib))
	}
	r.note("the last file held about %d transactions of %d bytes", transactions, have/transactions)
	source.do("FLUSH BINARY LOGS")
	measure("behind it a new file")
}

// binlogSize is the size of the newest binary log file, in bytes.
func (b *bare) binlogSize() int {
	files, err := filepath.Glob(filepath.Join(b.dir, "data", "binlog.[0-9]*"))
	require.NoError(b.t, err)
	info, err := os.Stat(slices.Max(files))
	require.NoError(b.t, err)
	return int(info.Size())
}
