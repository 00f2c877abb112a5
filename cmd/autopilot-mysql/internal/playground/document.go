package playground

import (
	"encoding/json"
	"slices"
)

// Document is playground.json, and without its last three fields what a node's /cluster answers: the product's stable
// interface for tools.
type Document struct {
	Cluster  string    `json:"cluster"`
	Term     uint64    `json:"term"`
	Primary  string    `json:"primary"` // name; "" while there is none
	AckSet   AckSet    `json:"ack_set"`
	Lease    Lease     `json:"lease"`
	Paused   bool      `json:"paused"`
	Snapshot *Snapshot `json:"snapshot"` // newest; null without one
	Consul   string    `json:"consul"`
	Store    string    `json:"store"`
	Nodes    []Node    `json:"nodes"`

	MySQLUser     string `json:"mysql_user"`
	MySQLPassword string `json:"mysql_password"`
	MySQLDatabase string `json:"mysql_database"`
}

// AckSet are the nodes whose acknowledgement can complete a commit (the primary included), and how many of them hold
// every acknowledged write.
type AckSet struct {
	Members []string `json:"members"`
	Acks    int      `json:"acks"`
}

// Lease says who may be primary, and for how long it is proved.
type Lease struct {
	Holder      string `json:"holder"`
	ExpiresInMS int64  `json:"expires_in_ms"`
}

// Snapshot is the newest one in the store.
type Snapshot struct {
	ID    string `json:"id"`
	At    string `json:"at"` // RFC 3339
	GTID  string `json:"gtid"`
	Bytes int64  `json:"bytes"`
}

// Node is one node. To the product's six states the playground adds "down": no process, or one that does not answer.
type Node struct {
	Name         string   `json:"name"`
	State        string   `json:"state"`
	Healthy      bool     `json:"healthy"`
	MySQL        string   `json:"mysql"` // host:port
	HTTP         string   `json:"http"`  // host:port
	LagSeconds   *float64 `json:"lag_seconds"`
	GTIDExecuted string   `json:"gtid_executed"`
	AckMember    bool     `json:"ack_member"`
	Pids         Pids     `json:"pids"`
	Datadir      string   `json:"datadir"`
	Reason       string   `json:"reason"`
}

// Pids of a node's processes; 0 is one that does not run.
type Pids struct {
	Guard int `json:"guard"`
	Agent int `json:"agent"`
	MySQL int `json:"mysqld"`
}

// Node returns the node of that name.
func (d Document) Node(name string) (Node, bool) {
	i := slices.IndexFunc(d.Nodes, func(n Node) bool { return n.Name == name })
	if i < 0 {
		return Node{}, false
	}
	return d.Nodes[i], true
}

func (d Document) clone() Document {
	d.Nodes = slices.Clone(d.Nodes)
	d.AckSet.Members = slices.Clone(d.AckSet.Members)
	return d
}

// equal compares by what a reader would see.
func (d Document) equal(o Document) bool {
	a, err1 := json.Marshal(d)
	b, err2 := json.Marshal(o)
	return err1 == nil && err2 == nil && string(a) == string(b)
}
