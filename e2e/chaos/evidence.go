package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// keep writes everything needed to understand a failure into the campaign's directory, before the volumes go away.
func (c *campaign) keep() {
	dir := filepath.Join(c.dir, "evidence")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		c.note("keep evidence: %v", err)
		return
	}
	c.save("violations.txt", []byte(strings.Join(c.bad(), "\n")+"\n"))
	c.saveJSON("consul.json", c.dumpConsul())
	if d, err := c.cluster.status(); err == nil {
		c.saveJSON("status.json", d)
	}
	for _, n := range append(c.cluster.nodes[:len(c.cluster.nodes):len(c.cluster.nodes)], c.cluster.spare) {
		c.keepNode(n)
	}
	b := c.writers.books()
	writes := b.all()
	c.saveLines("writes.jsonl", len(writes), func(i int) any { return writes[i] })
	c.saveLines("registers.jsonl", len(b.txns), func(i int) any { return b.txns[i] })
	c.saveJSON("terms.json", c.watch.terms())
}

func (c *campaign) save(name string, b []byte) {
	if err := os.WriteFile(filepath.Join(c.dir, "evidence", name), b, 0o644); err != nil {
		c.note("keep evidence: %v", err)
	}
}

func (c *campaign) saveJSON(name string, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		b = []byte(err.Error())
	}
	c.save(name, b)
}

func (c *campaign) saveLines(name string, count int, line func(int) any) {
	f, err := os.Create(filepath.Join(c.dir, "evidence", name))
	if err != nil {
		c.note("keep evidence: %v", err)
		return
	}
	defer f.Close()
	enc := json.NewEncoder(f)
	for i := range count {
		if err := enc.Encode(line(i)); err != nil {
			c.note("keep evidence: %v", err)
			return
		}
	}
}

// dumpConsul is everything Consul says about the cluster, values as text.
func (c *campaign) dumpConsul() map[string]any {
	dump := map[string]any{}
	var keys []kv
	if err := c.cluster.consul.ask(http.MethodGet, "/v1/kv/mysql/?recurse", nil, &keys); err != nil {
		dump["keys"] = err.Error()
	}
	values := map[string]any{}
	for _, k := range keys {
		values[k.Key] = map[string]any{"value": string(k.Value), "session": k.Session, "modify_index": k.ModifyIndex}
	}
	dump["values"] = values
	for name, path := range map[string]string{"sessions": "/v1/session/list", "checks": "/v1/agent/checks", "services": "/v1/agent/services"} {
		var answer any
		if err := c.cluster.consul.ask(http.MethodGet, path, nil, &answer); err != nil {
			answer = err.Error()
		}
		dump[name] = answer
	}
	return dump
}

// questions are asked of every server that still answers.
var questions = map[string]string{
	"gtid":        "SELECT @@gtid_executed, @@gtid_purged, @@super_read_only, @@read_only, @@offline_mode, @@server_uuid, @@server_id",
	"replica":     "SHOW REPLICA STATUS",
	"workers":     "SELECT * FROM performance_schema.replication_applier_status_by_worker",
	"binlog":      "SHOW BINARY LOG STATUS",
	"semisync":    "SHOW GLOBAL STATUS LIKE 'Rpl_semi%'",
	"variables":   "SHOW GLOBAL VARIABLES LIKE 'rpl_semi%'",
	"processlist": "SHOW FULL PROCESSLIST",
	"accounts":    "SELECT user, host, account_locked FROM mysql.user",
	"locks":       "SELECT object_type, object_schema, object_name, lock_type, lock_status, owner_thread_id FROM performance_schema.metadata_locks",
}

// keepNode copies a node's logs and what its server says.
func (c *campaign) keepNode(n *node) {
	var out strings.Builder
	for _, name := range sortedKeys(questions) {
		fmt.Fprintf(&out, "== %s\n%s\n", name, n.table(questions[name]))
	}
	c.save(n.name+".sql.txt", []byte(out.String()))
	var list strings.Builder
	for _, p := range n.all() {
		state, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
		fmt.Fprintf(&list, "%d (parent %d) %s\n%s\n", p.pid, p.ppid, p.args, firstLines(string(state), 4))
	}
	c.save(n.name+".processes.txt", []byte(list.String()))
	// state.json, error logs, binary and relay logs: what a history can be read from.
	_ = filepath.Walk(n.dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return nil //nolint:nilerr // a file that goes away while we look
		}
		base := filepath.Base(path)
		for _, part := range []string{"state.json", ".err", "error", "binlog", "relay", "my.cnf", ".log", ".index"} {
			if strings.Contains(base, part) && !strings.HasSuffix(base, ".ibd") {
				rel, _ := filepath.Rel(n.dir, path)
				copyFile(path, filepath.Join(c.dir, "evidence", n.name, rel))
				break
			}
		}
		return nil
	})
}

func firstLines(text string, count int) string {
	lines := strings.SplitN(text, "\n", count+1)
	return strings.Join(lines[:min(count, len(lines))], "\n")
}

func copyFile(from, to string) {
	in, err := os.Open(from)
	if err != nil {
		return
	}
	defer in.Close()
	if os.MkdirAll(filepath.Dir(to), 0o755) != nil {
		return
	}
	out, err := os.Create(to)
	if err != nil {
		return
	}
	defer out.Close()
	_, _ = io.Copy(out, in) // better half a log than none
}

// table is the answer to a query as text, with an error in its place.
func (n *node) table(query string) string {
	db, err := n.rootDB()
	if err != nil {
		return err.Error()
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return err.Error()
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return err.Error()
	}
	var out strings.Builder
	for rows.Next() {
		raw := make([][]byte, len(names))
		into := make([]any, len(names))
		for i := range raw {
			into[i] = &raw[i]
		}
		if err := rows.Scan(into...); err != nil {
			return err.Error()
		}
		for i, name := range names {
			if len(raw[i]) > 0 && !strings.Contains(strings.ToLower(name), "password") {
				fmt.Fprintf(&out, "%s=%s ", name, strings.ReplaceAll(string(raw[i]), "\n", ""))
			}
		}
		out.WriteString("\n")
	}
	if err := rows.Err(); err != nil {
		return err.Error()
	}
	return out.String()
}
