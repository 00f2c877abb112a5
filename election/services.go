package election

import (
	"context"
	"time"
)

// Service is one entry of this node in the catalog in which applications look for servers.
type Service struct {
	// ID is unique on the node and the cluster, for example "mysql-primary-node1".
	ID string
	// Name is what applications look up.
	Name string
	// Address and Port are where the service listens.
	Address string
	Port    int
	// Tags and Meta are shown to applications as they are.
	Tags []string
	Meta map[string]string
	// TTL is how long after the last Pass the service counts as critical. For a primary it is [Params.C], so that a dead
	// one disappears together with its lock.
	TTL time.Duration
	// Pass says whether it is healthy right after registration.
	Pass bool
}

// Instance is one healthy server as an application sees it.
type Instance struct {
	ID, Name, Address string
	Port              int
	Tags              []string
	Meta              map[string]string
}

// Services keeps this node's entries in the catalog. Safe for concurrent use.
type Services interface {
	// Register adds the service, or brings an existing one with the same ID up to date.
	Register(ctx context.Context, s Service) error
	// Deregister removes it; one that does not exist is fine.
	Deregister(ctx context.Context, id string) error
	// Pass reports it healthy for another TTL. An entry that the store forgot is registered again.
	Pass(ctx context.Context, id, note string) error
	// Fail reports it critical at once. An entry that the store forgot is registered again.
	Fail(ctx context.Context, id, note string) error
}

// Discovery is the other side of [Services]: what an application does. Safe for concurrent use.
type Discovery interface {
	// Healthy returns the healthy instances of a service, sorted by ID.
	Healthy(ctx context.Context, name string) ([]Instance, error)
	// WaitHealthy blocks until the health of the service may have changed since index (0: at once), or most has passed, and
	// returns the healthy instances and the index for the next call. An index lower than before is fine.
	WaitHealthy(ctx context.Context, name string, index uint64, most time.Duration) ([]Instance, uint64, error)
}
