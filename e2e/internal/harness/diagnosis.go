package harness

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// diagnosisLimit bounds one question to a server that may be hung.
const diagnosisLimit = 5 * time.Second

// threads is what a server's threads are at.
const threads = "SELECT NAME, THREAD_ID, PROCESSLIST_ID, PROCESSLIST_TIME, PROCESSLIST_STATE, LEFT(PROCESSLIST_INFO, 80) AS INFO FROM performance_schema.threads " +
	"WHERE PROCESSLIST_COMMAND NOT IN ('Sleep', 'Daemon') AND PROCESSLIST_STATE <> 'Waiting for an event from Coordinator' AND PROCESSLIST_ID <> CONNECTION_ID()"

// diagnosisQueries say what a follower's threads are at, and why they are not at something else.
var diagnosisQueries = []string{
	"SHOW REPLICA STATUS",
	threads,
	"SELECT CHANNEL_NAME, PROCESSING_TRANSACTION, LAST_ERROR_NUMBER, LAST_ERROR_MESSAGE FROM performance_schema.replication_applier_status_by_coordinator",
	"SELECT THREAD_ID, APPLYING_TRANSACTION, LAST_ERROR_NUMBER, LAST_ERROR_MESSAGE FROM performance_schema.replication_applier_status_by_worker WHERE APPLYING_TRANSACTION <> '' OR LAST_ERROR_NUMBER <> 0",
	"SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync%status'",
}

// diagnosis is what a failed test leaves for somebody who sees its output only: the ends of the logs, and last, because ends
// are what is kept of long outputs, the nodes that are not well. Of those that are, there is little: the test's own message
// comes before, and has to be kept too. It fails no test.
func (c *Cluster) diagnosis() string {
	var well, unwell strings.Builder
	c.tail(&well, filepath.Join(c.Dir, "supervisor.log"), 8)
	d, err := c.read()
	if err != nil {
		fmt.Fprintf(&unwell, "no document: %v\n", err)
	}
	for _, n := range d.Nodes {
		log := filepath.Join(c.Dir, "nodes", n.Name+".log")
		if n.Healthy {
			c.tail(&well, log, 4)
			continue
		}
		c.tail(&unwell, log, 30)
		if n.Pids.Mysqld != 0 {
			c.question(&unwell, n.Name, diagnosisQueries...)
		}
	}
	fmt.Fprintf(&unwell, "%s\n", d.Line())
	return well.String() + unwell.String()
}

func (c *Cluster) tail(to *strings.Builder, path string, lines int) {
	if b, err := os.ReadFile(path); err == nil {
		fmt.Fprintf(to, "end of %s:\n", filepath.Base(path))
		for line := range strings.Lines(Tail(string(b), lines)) {
			fmt.Fprintf(to, "%.300s\n", strings.TrimSuffix(line, "\n"))
		}
	}
}

// Threads is what the threads of all servers are at, for the message of a test that waited in vain.
func (c *Cluster) Threads() string {
	var to strings.Builder
	d, err := c.read()
	if err != nil {
		fmt.Fprintf(&to, "no document: %v\n", err)
	}
	for _, n := range d.Nodes {
		fmt.Fprintf(&to, "%s:\n", n.Name)
		c.question(&to, n.Name, threads)
	}
	return to.String()
}

// question prints what is not empty of the answers to queries.
func (c *Cluster) question(to *strings.Builder, node string, queries ...string) {
	db := c.root(node)
	defer db.Close()
	for _, query := range queries {
		if err := answer(to, db, query); err != nil {
			fmt.Fprintf(to, "%s: %.40s: %v\n", node, query, err)
		}
	}
}

func answer(to *strings.Builder, db *sql.DB, query string) error {
	ctx, cancel := context.WithTimeout(context.Background(), diagnosisLimit)
	defer cancel()
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	for rows.Next() {
		values, into := make([]sql.NullString, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		for i, v := range values {
			if v.String != "" && v.String != "0" && !strings.Contains(names[i], "SSL") {
				fmt.Fprintf(to, " %s=%s", names[i], v.String)
			}
		}
		fmt.Fprintln(to)
	}
	return rows.Err()
}
