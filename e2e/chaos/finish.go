package chaos

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/history"
)

const (
	sameBound = 3 * time.Minute
	// What a node at rest needs is far below these.
	mostConnections = 60
	mostFiles       = 256
)

// finish compares everything with everything after the last fault.
func (c *campaign) finish() {
	c.say("the last fault is over: comparing")
	if !c.waitWhole("end", wholeBound) {
		return
	}
	c.writers.stop()
	if !c.waitSame() {
		return
	}
	b := c.writers.books()
	for _, n := range c.cluster.nodes {
		have, err := c.have(n)
		if err != nil {
			c.violation("%v", err)
			continue
		}
		c.losses(n, b.all(), have)
	}
	for _, n := range c.cluster.nodes {
		final, err := c.registers(n)
		if err != nil {
			c.violation("%v", err)
			continue
		}
		primary, _ := c.roles()
		if n != primary { // all have executed the same: their tables must be the same
			continue
		}
		for _, bad := range history.Registers(b.txns, final) {
			c.violation("%s", bad)
		}
	}
	c.sameTables()
	c.leaks()
	c.goAway()
}

// waitSame waits until all nodes have executed the same transactions: nothing is missing anywhere, and no node has what
// the others never got.
func (c *campaign) waitSame() bool {
	sets := map[string]string{}
	bound := stretched(sameBound)
	ok := c.await(bound, func() bool {
		same := true
		for _, n := range c.cluster.nodes {
			v, err := n.value("SELECT @@GLOBAL.gtid_executed")
			if err != nil {
				v = err.Error()
				same = false
			}
			sets[n.name] = strings.ReplaceAll(v, "\n", "")
			same = same && sets[n.name] == sets[c.cluster.nodes[0].name]
		}
		return same
	})
	if !ok {
		c.violation("the nodes do not come to the same transactions within %v (errant or missing ones): %v", bound, sets)
	}
	return ok
}

func (c *campaign) registers(n *node) (map[int]int64, error) {
	db, err := n.rootDB()
	if err != nil {
		return nil, err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	rows, err := db.QueryContext(ctx, "SELECT k, v FROM "+database+".chaos_register")
	if err != nil {
		return nil, fmt.Errorf("read the registers of %s: %w", n.name, err)
	}
	defer rows.Close()
	final := map[int]int64{}
	for rows.Next() {
		var (
			k int
			v int64
		)
		if err := rows.Scan(&k, &v); err != nil {
			return nil, fmt.Errorf("read the registers of %s: %w", n.name, err)
		}
		final[k] = v
	}
	return final, rows.Err()
}

func (c *campaign) sameTables() {
	sums := map[string]string{}
	for _, n := range c.cluster.nodes {
		for _, table := range []string{"chaos_writes", "chaos_register", "chaos_ddl"} {
			sum, err := n.checksum(database + "." + table)
			if err != nil {
				c.violation("%v", err)
			}
			sums[n.name] += table + "=" + sum + " "
		}
	}
	for _, n := range c.cluster.nodes {
		if first := c.cluster.nodes[0].name; sums[n.name] != sums[first] {
			c.violation("%s has executed the same transactions as %s and holds other data: %s against %s", n.name, first, sums[n.name], sums[first])
		}
	}
}

func (n *node) checksum(table string) (string, error) {
	db, err := n.rootDB()
	if err != nil {
		return "", err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var name, sum string
	if err := db.QueryRowContext(ctx, "CHECKSUM TABLE "+table).Scan(&name, &sum); err != nil {
		return "", fmt.Errorf("checksum of %s on %s: %w", table, n.name, err)
	}
	return sum, nil
}

// leaks looks for connections and open files that nobody needs any more.
func (c *campaign) leaks() {
	for _, n := range c.cluster.nodes {
		ok := c.await(stretched(time.Minute), func() bool {
			v, err := n.value("SELECT COUNT(*) FROM performance_schema.processlist WHERE user = '" + appUser + "'")
			return err == nil && v == "0"
		})
		if !ok {
			c.violation("%s still has connections of clients that are gone", n.name)
		}
		v, err := n.value("SELECT COUNT(*) FROM performance_schema.processlist")
		count, _ := strconv.Atoi(v)
		if err != nil || count > mostConnections {
			c.violation("%s has %s connections at rest (%v)", n.name, v, err)
		}
		files := ""
		for _, part := range []string{"guard", "agent"} {
			pid, err := n.part(part)
			if err != nil {
				c.violation("%v", err)
				continue
			}
			open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
			if err != nil || len(open) > mostFiles {
				c.violation("the %s of %s has %d open files at rest (%v)", part, n.name, len(open), err)
			}
			files += fmt.Sprintf(", %s %d files", part, len(open))
		}
		c.note("%s at rest: %d connections%s", n.name, count, files)
	}
}

// goAway stops the nodes gracefully: nothing may be left of them.
func (c *campaign) goAway() {
	for _, n := range c.cluster.nodes {
		n.mu.Lock()
		n.over = true
		n.mu.Unlock()
		if graceful, err := n.stop(); !graceful || err != nil {
			c.violation("%s does not stop within %v: %v", n.name, stopLimit, err)
			continue
		}
		if left := n.all(); len(left) > 0 {
			c.violation("%s has stopped and left processes: %v", n.name, left)
		}
		if inside, err := n.host.Pids(); err != nil || len(inside) > 0 {
			c.violation("%s has stopped and left processes on its host: %v (%v)", n.name, inside, err)
		}
	}
}

// close ends whatever is left and removes the network and the volumes.
func (c *campaign) close() error {
	if c.cluster != nil {
		for _, n := range append(c.cluster.nodes[:len(c.cluster.nodes):len(c.cluster.nodes)], c.cluster.spare) {
			if err := n.end(false); err != nil {
				c.note("end %s: %v", n.name, err)
			}
		}
		for _, s := range append(consulServices(c.cluster.consul), c.cluster.store) {
			if err := s.end(false); err != nil {
				c.note("end %s: %v", s.name, err)
			}
		}
	}
	if c.net == nil {
		return nil
	}
	if err := c.net.Close(); err != nil {
		return fmt.Errorf("remove the network: %w", err)
	}
	if left := c.net.Left(); len(left) > 0 {
		return fmt.Errorf("remove the network: %v are left", left)
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err == nil && strings.Contains(string(mounts), " "+filepath.Clean(c.dir)+"/") {
		err = fmt.Errorf("a volume below %s is still mounted", c.dir)
	}
	return err
}
