package metrics

import (
	"bytes"
	"os"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

func mysqlReadings() []reading {
	answering := func(name, help string, value func(Sample) float64) reading {
		return when(name, help, func(s Sample) (float64, bool) { return value(s), s.MySQL.Ready })
	}
	following := func(name, help string, value func(r *mysql.ReplicaStatus) float64) reading {
		return when(name, help, func(s Sample) (float64, bool) {
			if !s.MySQL.Ready || s.Status.Replica == nil {
				return 0, false
			}
			return value(s.Status.Replica), true
		})
	}
	return []reading{
		one("mysqld_running", "1 while the process is there.", func(s Sample) float64 { return truth(s.MySQL.Running) }),
		one("mysqld_up", "1 while mysqld answers; the other mysqld_ metrics are absent while it does not.", func(s Sample) float64 { return truth(s.MySQL.Ready) }),
		answering("mysqld_read_only", "1 while super_read_only is on.", func(s Sample) float64 { return truth(s.MySQL.ReadOnly) }),
		answering("mysqld_offline", "1 while offline_mode keeps clients out.", func(s Sample) float64 { return truth(s.MySQL.Offline) }),
		answering("mysqld_transactions", "Transactions in gtid_executed.", func(s Sample) float64 { return float64(s.Status.Executed.Count()) }),
		answering("mysqld_undrained_transactions", "Transactions received and not applied yet.", func(s Sample) float64 { return float64(s.Status.Undrained().Count()) }),
		answering("mysqld_semisync_wanted_acks", "Acknowledgements a commit waits for; 0 while the source side is off.", func(s Sample) float64 { return float64(s.MySQL.K) }),
		answering("mysqld_semisync_clients", "Connected receivers that acknowledge.", func(s Sample) float64 { return float64(s.Status.Source.Clients) }),
		answering("mysqld_semisync_waiting_sessions", "Commits that wait for an acknowledgement now.", func(s Sample) float64 { return float64(s.MySQL.WaitSessions) }),
		counted(answering("mysqld_semisync_acknowledged_total", "Commits that were acknowledged, since mysqld started.",
			func(s Sample) float64 { return float64(s.Status.Source.YesTx) })),
		counted(answering("mysqld_semisync_unacknowledged_total", "Commits without an acknowledgement, since mysqld started.",
			func(s Sample) float64 { return float64(s.Status.Source.NoTx) })),
		following("mysqld_receiver_up", "1 while the replication receiver is connected; absent without a channel.",
			func(r *mysql.ReplicaStatus) float64 { return truth(r.Receiver == mysql.On) }),
		following("mysqld_applier_up", "1 while the replication applier runs; absent without a channel.",
			func(r *mysql.ReplicaStatus) float64 { return truth(r.Applier == mysql.On) }),
		following("mysqld_acknowledges", "1 while the receiver acknowledges what it has written.",
			func(r *mysql.ReplicaStatus) float64 { return truth(r.Armed) }),
		{name: "mysqld_streams", help: "1 for each follower that this server is sending its binary log to.", kind: prometheus.GaugeValue, label: "follower",
			read: func(s Sample, give func(float64, string)) {
				for name, on := range s.MySQL.Streams {
					if s.Node.State == roles.Primary && on {
						give(1, name)
					}
				}
			}},
	}
}

// resident reads a process's resident memory in bytes from its statm, whose second word counts pages.
func resident(path string) (float64, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	words := bytes.Fields(b)
	if len(words) < 2 {
		return 0, false
	}
	pages, err := strconv.ParseUint(string(words[1]), 10, 64)
	return float64(pages) * float64(os.Getpagesize()), err == nil
}
