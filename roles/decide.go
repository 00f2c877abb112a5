package roles

import (
	"fmt"
	"time"
)

// Decide says what follows from the facts in a state. It is total and pure.
func Decide(s State, f Facts) Decision {
	switch s {
	case Init:
		return decideInit(f)
	case RestoreSnapshot:
		return decideRestore(f)
	case Replica, Standby:
		return decideFollower(s, f)
	case Failover:
		return decideFailover(f)
	case Primary:
		return decidePrimary(f)
	}
	return wait(fmt.Sprintf("unknown state %q", s))
}

const consulSilent = "Consul does not answer; waiting for it"

func decideInit(f Facts) Decision {
	if f.Attach != 0 {
		return decideAttach(f)
	}
	// A creation that was never recorded was never open: nobody has seen its data, and it begins anew.
	unrecorded := f.Disk.Founding && !f.Founded && f.View.OK && f.View.Cluster == nil && f.View.GarbledVer(KeyCluster) == 0
	if f.Disk.Data == DataOurs && !unrecorded {
		return decideInitWithData(f)
	}
	switch {
	case !f.View.OK:
		return wait(consulSilent)
	case f.View.Cluster != nil:
		return fire(ClusterFound, "no data here, the cluster exists since "+f.View.Cluster.CreatedAt.Format(time.RFC3339))
	}
	if len(f.View.Garbled) > 0 {
		return wait(fmt.Sprintf("no data here, and Consul's record %s cannot be read (%s), which may be of a cluster that exists: waiting until it is "+
			"repaired or deleted", f.View.Garbled[0].Key, f.View.Garbled[0].Why))
	}
	if who, ok := someoneHasData(f); ok {
		return wait(fmt.Sprintf("the cluster's record is gone from Consul, but %s has data of it: waiting for the members to put it back", who))
	}
	if f.Disk.LastSync.Exists() {
		return wait(fmt.Sprintf("the cluster's record is gone from Consul, and this node, whose data was being replaced, remembers it (%s): "+
			"waiting for the members to put it back", f.Disk.LastSync))
	}
	switch {
	case f.Stop:
		return wait("stopping")
	case f.Busy != "":
		return wait(f.Busy)
	case f.View.Leader.Free():
		return do(Acquire, "no cluster and no data: trying to become its first node")
	case f.View.Leader.Session == f.Lease.Session && !f.Lease.Held:
		return do(Release, "the lease ran out before the cluster was created")
	case f.View.Leader.Session == f.Lease.Session:
		return do(Found, "holding the lock of a cluster that does not exist yet")
	}
	return wait(fmt.Sprintf("%s is creating the cluster", f.View.Leader.Holder.Name()))
}

func decideInitWithData(f Facts) Decision {
	if d, ok := giveUp(f); ok {
		return d
	}
	switch {
	case !f.MySQL.Running:
		return do(StartMysqld, "data is on disk")
	case !f.MySQL.Ready:
		return wait("mysqld is starting")
	case !f.View.OK:
		return wait(consulSilent)
	case f.View.Cluster == nil && !f.Founded:
		return decideWiped(f)
	case f.Founded && f.Lease.Held && f.View.Sync.Primary == f.Self.Inc && f.View.Leader.Session == f.Lease.Session:
		return fire(Founded, "created the cluster; opening its first term")
	}
	if h, ok := f.View.ValidPrimary(); ok && h.Inc != f.Self.Inc {
		return fire(PrimaryFound, fmt.Sprintf("data is on disk and %s is the primary of term %d", h.Name, f.View.Sync.Term))
	}
	return fire(NoPrimary, "data is on disk and there is no valid primary")
}

func decideRestore(f Facts) Decision {
	switch {
	case f.Disk.Data == DataCondemned && f.MySQL.Running:
		return do(StopMysqld, "its data is to be replaced")
	case f.Disk.Data == DataOurs && !f.MySQL.Running:
		return do(StartMysqld, "data is in place")
	case f.Disk.Data == DataOurs && f.MySQL.Ready:
		return fire(Restored, "data is in place and mysqld answers")
	case f.Disk.Data == DataOurs:
		return wait("mysqld is starting on the restored data")
	case f.Busy != "":
		return wait(f.Busy)
	case !f.View.OK:
		return wait(consulSilent)
	case f.Stop:
		return wait("stopping")
	}
	if !f.View.Leader.Free() && f.View.Leader.Session == f.Lease.Session {
		return do(Release, "holding the lock without data")
	}
	if _, ok := f.View.ValidPrimary(); !ok {
		return wait("there is no valid primary whose binary logs a snapshot could connect to; waiting for one")
	}
	return do(Restore, "looking for a snapshot that connects to the primary's binary logs, or a donor")
}
