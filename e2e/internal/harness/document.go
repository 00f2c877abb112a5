package harness

import "slices"

// Node is what tests read of a node in playground.json.
type Node struct {
	Name         string `json:"name"`
	State        string `json:"state"`
	Healthy      bool   `json:"healthy"`
	MySQL        string `json:"mysql"`
	HTTP         string `json:"http"`
	GTIDExecuted string `json:"gtid_executed"`
	AckMember    bool   `json:"ack_member"`
	Datadir      string `json:"datadir"`
	Reason       string `json:"reason"`
	Pids         Pids   `json:"pids"`
}

// Pids are a node's processes; 0 is one that does not run.
type Pids struct {
	Guard  int `json:"guard"`
	Agent  int `json:"agent"`
	Mysqld int `json:"mysqld"`
}

// Document is what tests read of playground.json.
type Document struct {
	Cluster string `json:"cluster"`
	Term    uint64 `json:"term"`
	Primary string `json:"primary"`
	Consul  string `json:"consul"`
	Store   string `json:"store"`
	AckSet  struct {
		Members []string `json:"members"`
		Acks    int      `json:"acks"`
	} `json:"ack_set"`
	Snapshot struct {
		ID   string `json:"id"`
		GTID string `json:"gtid"`
	} `json:"snapshot"`
	Nodes []Node `json:"nodes"`

	User     string `json:"mysql_user"`
	Password string `json:"mysql_password"`
	Database string `json:"mysql_database"`
}

// Node finds a node by name; a zero Node when there is none.
func (d Document) Node(name string) Node {
	if i := slices.IndexFunc(d.Nodes, func(n Node) bool { return n.Name == name }); i >= 0 {
		return d.Nodes[i]
	}
	return Node{}
}

// Count is how many healthy nodes are in a state.
func (d Document) Count(state string) int {
	n := 0
	for _, node := range d.Nodes {
		if node.State == state && node.Healthy {
			n++
		}
	}
	return n
}

// Others are the nodes beside the primary.
func (d Document) Others() []Node {
	return slices.DeleteFunc(slices.Clone(d.Nodes), func(n Node) bool { return n.Name == d.Primary })
}

// Whole reports whether n nodes run as a cluster should: one primary, at most two standbys (what max-ackers is by
// default), the rest replicas, everyone healthy, and every write promised to be on one more node: before that nobody but
// the primary may lead.
func (d Document) Whole(n int) bool {
	standbys := min(n-1, 2)
	return d.Primary != "" && d.Term != 0 && d.Node(d.Primary).State == "primary" && d.Count("primary") == 1 &&
		d.AckSet.Acks >= min(1, standbys) && d.Count("standby") == standbys && d.Count("replica") == n-1-standbys
}
