package roles

import (
	"errors"
	"fmt"
)

// decideAttach settles, in init, whether the term that a previous agent left open goes on. While its lease lasts, what is
// not known yet is waited for; any doubt that waiting cannot end is a fence, and so is the end of the lease.
func decideAttach(f Facts) Decision {
	err := mayGoOn(f)
	switch {
	case err == nil:
		return fire(Attached, fmt.Sprintf("a previous agent left term %d open, and it still holds: %s", f.Attach, f.View.Sync))
	case f.Lease.Held && (!f.View.OK || f.MySQL.Running && !f.MySQL.Ready):
		return wait("a previous agent was the primary; looking whether that still holds: " + err.Error())
	}
	return do(Fence, fmt.Sprintf("a previous agent left term %d open and it cannot go on: %v", f.Attach, err))
}

// mayGoOn guards ATTACH: the lease and the lock of the session that the term was opened with, the record on disk and in
// Consul, and a server that is as a primary leaves it. The ack quorum needs no proof of its own: nobody has been promoted.
func mayGoOn(f Facts) error {
	sync, m := f.View.Sync, f.MySQL
	switch {
	case f.Attach == 0:
		return errors.New("no previous agent left a term open")
	case f.Disk.Data != DataOurs || f.Disk.LastSync.Term != f.Attach || f.Disk.LastSync.Primary != f.Self.Inc || f.Disk.Promised > f.Attach:
		return fmt.Errorf("on disk is %s and a promise of term %d", f.Disk.LastSync, f.Disk.Promised)
	case !f.Lease.Held:
		return errors.New("the lease is not fresh")
	case !f.View.OK:
		return errors.New("Consul has not answered yet")
	case f.Lease.Session == "" || f.View.Leader.Session != f.Lease.Session:
		return errors.New("the lock is not held by the session of that term")
	case f.View.Cluster == nil || sync.Term != f.Attach || sync.Primary != f.Self.Inc:
		return fmt.Errorf("Consul says: %s", sync)
	case !m.Ready:
		return errors.New("mysqld does not answer")
	case m.ReadOnly || m.Offline:
		return errors.New("mysqld is closed")
	case m.Receiver != Off || !m.Undrained().IsEmpty():
		return errors.New("mysqld is a replica")
	case m.K < sync.Acks:
		return fmt.Errorf("commits wait for %d acknowledgements, %d are promised", m.K, sync.Acks)
	}
	return nil
}
