package bench

import (
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// scenarios are all there are, the quick ones first.
func scenarios() []scenario {
	lease := func(d time.Duration, nodes int) harness.Options {
		return harness.Options{Nodes: nodes, Lease: d, RestartAfter: "500ms"}
	}
	// dead is a cluster whose killed nodes are started again only when a round is over.
	dead := func(d time.Duration, nodes int) harness.Options {
		return harness.Options{Nodes: nodes, Lease: d, RestartAfter: staysDead}
	}
	return []scenario{
		{"appliers", "three bare semi-synchronous servers: do replicas keep up with 8 clients, by the number of parallel workers", appliers, ""},
		{"reconnect", "two bare servers: how long until a follower that connects anew has the next write, by the size of the source's binary log file", reconnect, "BENCH_ROUNDS"},
		{"switchover-8", "planned switchover, 8 clients writing as fast as they are acknowledged", switchovers(8, 30, 60), "BENCH_ROUNDS"},
		{"switchover-64", "planned switchover, 64 clients", switchovers(64, 80, 120), "BENCH_ROUNDS"},
		{"switchover-0", "planned switchover, one client writing every 5 ms", switchovers(0, 0, 0), "BENCH_ROUNDS"},
		{"switchover-8-cpu", "who has the CPUs between the last acknowledgement of the old primary and the first of the new one; needs perf, root and tracefs", shares(8), "BENCH_ROUNDS"},
		{"node-killed", "guard, agent and mysqld of the primary killed at once, lease 3 s, 8 clients", failovers(dead(3*time.Second, 3), 8, 10, 3400, killNode), "BENCH_ROUNDS"},
		{"node-killed-restarted", "the same, and started again by its supervisor after half a second", failovers(lease(3*time.Second, 3), 8, 8, 3400, killNode), "BENCH_ROUNDS"},
		{"node-killed-lease-1s", "node-killed with a lease of 1 s", failovers(dead(time.Second, 3), 8, 10, 1400, killNode), "BENCH_ROUNDS"},
		{"node-killed-lease-10s", "node-killed with a lease of 10 s", failovers(dead(10*time.Second, 3), 8, 4, 10400, killNode), "BENCH_ROUNDS"},
		{"node-killed-5", "node-killed with five nodes, lease 3 s", failovers(dead(3*time.Second, 5), 8, 5, 3400, killNode), "BENCH_ROUNDS"},
		{"node-killed-0", "node-killed, one client writing every 5 ms", failovers(dead(3*time.Second, 3), 0, 6, 3400, killNode), "BENCH_ROUNDS"},
		{"node-killed-64", "node-killed with 64 clients", failovers(dead(3*time.Second, 3), 64, 4, 0, killNode), "BENCH_ROUNDS"},
		{"mysqld-killed-0", "mysqld-killed, one client writing every 5 ms", failovers(lease(3*time.Second, 3), 0, 8, 350, killMysqld), "BENCH_ROUNDS"},
		{"mysqld-killed", "mysqld of the primary killed, its agent lives, 8 clients", failovers(lease(3*time.Second, 3), 8, 12, 350, killMysqld), "BENCH_ROUNDS"},
		{"mysqld-killed-64", "the same with 64 clients", failovers(lease(3*time.Second, 3), 64, 8, 0, killMysqld), "BENCH_ROUNDS"},
		{"node-frozen", "guard, agent and mysqld of the primary stopped, resumed after the failover, lease 3 s, 8 clients", failovers(lease(3*time.Second, 3), 8, 8, 3400, freezeNode), "BENCH_ROUNDS"},
		{"node-killed-9", "node-killed with nine nodes, lease 3 s", failovers(dead(3*time.Second, 9), 8, 5, 3400, killNode), "BENCH_ROUNDS"},
		{"mysqld-killed-cpu", "who has the CPUs between the last acknowledgement of a killed mysqld and the next one; needs perf, root and tracefs", faultShares(lease(3*time.Second, 3), 8, killMysqld, fromTheFault), "BENCH_ROUNDS"},
		{"node-killed-9-cpu", "who has the CPUs between the lapse of a killed node's lease and the next acknowledgement, nine nodes; needs perf, root and tracefs", faultShares(dead(3*time.Second, 9), 4, killNode, fromTheLapse), "BENCH_ROUNDS"},
		{"partition", "links of the primary cut in network namespaces, lease 3 s, 8 clients: to everything, to Consul only, to its replicas only (for 5 s; nobody fails over for that); needs root, ip, nft and tc", partitions, "BENCH_ROUNDS"},
		{"node-and-agent-killed", "everything on the primary's host killed at once, also the Consul agent the node talks to, lease 3 s, 8 clients; needs root, ip, nft and tc", withAgent, "BENCH_ROUNDS"},
		{"lagging", "every replica has a minute of relay log to apply: a switchover and a failover then, 8 clients", lagging, "BENCH_LAG (1m), BENCH_ROUNDS (3 of each)"},
		{"steady", "what watching costs: throughput in turns with and without, memory, CPU, requests to Consul", steady, "BENCH_ROUNDS (100 pairs)"},
		{"throughput", "what we cost: sysbench at our cluster, and at the same three servers with the same option files and semi-synchronous replication but neither agent nor guard; ABBA", throughput, "BENCH_ROUNDS (8 pairs), BENCH_WINDOW (20s for each load); sysbench is installed if apt has it"},
		{"restarts", "start-up by the size of the data, from the birth of the process: a standby with its data after SIGKILL and after a graceful stop, and with an empty disk", restarts, "BENCH_SIZES (0,256,1024 MiB), BENCH_ROUNDS (4)"},
		{"scale", "one Consul with many clusters of three nodes, simulated but for one, until it carries no more", scale, "BENCH_CLUSTERS (0,1,10,30,100,200,400), BENCH_ROUNDS (3 failovers each), BENCH_WINDOW (30s)"},
		{"soak", "an ordinary hour: what agents and guards hold on to, every 10 s", soak, "BENCH_SOAK (1h)"},
		{"demo", "make demo with nothing compiled or fetched before", demo, "BENCH_ROUNDS"},
		{"by-hand", "the floor: three bare semi-synchronous servers, a script that is told at once and tells clients at once, 8 clients", floor(8, 10), "BENCH_ROUNDS"},
		{"by-hand-64", "the same with 64 clients", floor(64, 5), "BENCH_ROUNDS"},
		{"group-replication", "MySQL Group Replication, single primary, its defaults, same mysqld, 8 clients that ask every member each 5 ms", groups(false), "BENCH_ROUNDS"},
		{"group-replication-tuned", "the same with member_expel_timeout=0", groups(true), "BENCH_ROUNDS"},
	}
}
