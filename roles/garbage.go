package roles

import (
	"slices"
	"strings"
)

// Garbled is a record in Consul that cannot be read: somebody wrote over it by hand. Nothing in it is believed, and it is
// never taken for a record that does not exist.
type Garbled struct {
	// Key is its name below the cluster's prefix, e.g. "sync" or "nodes/…".
	Key string
	// Why says what is wrong with it.
	Why string
	// Ver is its ModifyIndex: it is written over only as long as it is this garbage.
	Ver uint64
}

// Names of the records whose garbage decisions look at.
const (
	KeySync    = "sync"
	KeyCluster = "cluster"
	keyNodes   = "nodes/"
)

// garbled finds the first unreadable record whose name begins so.
func (v View) garbled(prefix string) (Garbled, bool) {
	i := slices.IndexFunc(v.Garbled, func(g Garbled) bool { return strings.HasPrefix(g.Key, prefix) })
	if i < 0 {
		return Garbled{}, false
	}
	return v.Garbled[i], true
}

// GarbledVer is the version of that very record if it cannot be read, 0 otherwise: what a compare-and-set that repairs it
// or creates it is based on.
func (v View) GarbledVer(key string) uint64 {
	g, _ := v.garbled(key)
	return g.Ver
}

// lost says in which way the cluster's records are not there.
func (v View) lost() string {
	for _, key := range []string{KeyCluster, KeySync} {
		if g, ok := v.garbled(key); ok {
			return "the record " + g.Key + " in Consul cannot be read (" + g.Why + ")"
		}
	}
	return "the cluster's record is gone from Consul"
}

// Unrecorded reports whether the record of i, which lives, is not there as it should be: deleted, or written over.
func (v View) Unrecorded(i Inc) bool {
	_, spoilt := v.garbled(keyNodes + string(i))
	return spoilt || !v.Nodes[i].Alive()
}
