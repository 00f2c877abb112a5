package chaos

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const keyPrefix = "mysql/" + clusterName + "/"

func consulFaults() []fault {
	return []fault{
		{name: "consul-killed", hold: seconds(1, 20), cost: "nothing, or a lease", strike: consulKilled},
		{name: "consul-frozen", hold: seconds(2, 15), cost: "nothing, or a lease", strike: consulFrozen},
		{name: "consul-wiped", hold: seconds(0, 6), takes: ofConsul, cost: "nothing, or a lease", bound: 3 * time.Minute, strike: consulWiped},
		{name: "session-destroyed", hold: seconds(1, 3), cost: "writes may stop for a moment", strike: sessionDestroyed},
		{name: "check-deregistered", hold: seconds(2, 5), cost: "writes may stop for a lease", strike: deregistered("check")},
		{name: "session-service-deregistered", hold: seconds(2, 5), cost: "writes may stop for a lease", strike: deregistered("service")},
		{name: "leader-deleted", hold: seconds(1, 3), cost: "writes may stop for a moment", strike: keyDeleted("leader")},
		{name: "leader-garbage", hold: seconds(2, 5), cost: "writes may stop for a lease", strike: keyGarbage("leader", false)},
		{name: "sync-deleted", hold: seconds(2, 5), takes: ofConsul, cost: "writes may stop for a lease", strike: keyDeleted("sync")},
		{name: "sync-garbage", hold: seconds(2, 8), takes: ofConsul, cost: "writes may stop until it is repaired", strike: keyGarbage("sync", true)},
		{name: "identity-deleted", hold: seconds(2, 5), takes: ofConsul, cost: "nothing", strike: keyDeleted("cluster")},
		{name: "node-record-garbage", targets: mostlyPrimary, hold: seconds(2, 8), cost: "writes may stop until it is repaired", strike: recordGarbage},
		{name: "seals-deleted", hold: seconds(1, 3), cost: "an election in progress takes longer", strike: sealsDeleted},
	}
}

func (s *strike) consul() *consulServer { return s.c.cluster.consul }

func consulKilled(s *strike) (func() error, error) {
	return s.consulBack, s.consulDown()
}

// consulDown kills all its servers, and holds them down.
func (s *strike) consulDown() error {
	var first error
	for _, x := range s.consul().servers() {
		x.hold()
		if err := x.kill(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// consulBack starts Consul again and waits until it leads.
func (s *strike) consulBack() error {
	var undo []func() error
	for _, x := range s.consul().servers() {
		undo = append(undo, x.free)
	}
	return each(append(undo, s.c.consulReady)...)()
}

func consulFrozen(s *strike) (func() error, error) {
	var undo []func() error
	var list []int
	for _, x := range s.consul().servers() {
		own := pids(x.all())
		list, undo = append(list, own...), append(undo, x.thaw(own...))
	}
	return each(undo...), signal(unix.SIGSTOP, list...)
}

// consulWiped takes everything from Consul while the servers run.
func consulWiped(s *strike) (func() error, error) {
	if err := s.consulDown(); err != nil {
		return s.consulBack, err
	}
	for _, x := range s.consul().servers() {
		if err := os.RemoveAll(filepath.Join(x.dir, "data")); err != nil {
			return s.consulBack, err
		}
	}
	return s.consulBack, nil
}

// session finds the session that holds the lock, and the check it hangs on.
func (s *strike) session() (id, check string, err error) {
	k, ok, err := s.consul().get(keyPrefix + "leader")
	if err != nil || !ok || k.Session == "" {
		return "", "", fmt.Errorf("nobody holds the lock: %w", errNotNow)
	}
	var found []struct {
		ID            string
		ServiceChecks []struct{ ID string }
	}
	if err := s.consul().ask(http.MethodGet, "/v1/session/info/"+k.Session, nil, &found); err != nil {
		return "", "", err
	}
	if len(found) == 0 || len(found[0].ServiceChecks) == 0 {
		return "", "", fmt.Errorf("the lock's session shows no check: %w", errNotNow)
	}
	return found[0].ID, found[0].ServiceChecks[0].ID, nil
}

func sessionDestroyed(s *strike) (func() error, error) {
	id, _, err := s.session()
	if err != nil {
		return nil, err
	}
	return nil, s.consul().ask(http.MethodPut, "/v1/session/destroy/"+id, nil, nil)
}

// deregistered takes the check of the lock's session away; it has the same name as the service it belongs to.
func deregistered(what string) func(*strike) (func() error, error) {
	return func(s *strike) (func() error, error) {
		_, check, err := s.session()
		if err != nil {
			return nil, err
		}
		for _, x := range s.consul().servers() { // only the agent it was registered at knows it
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			_, err = x.send(ctx, http.MethodPut, "/v1/agent/"+what+"/deregister/"+check, nil, nil)
			cancel()
			if err == nil {
				break
			}
		}
		return nil, err
	}
}

func keyDeleted(name string) func(*strike) (func() error, error) {
	return func(s *strike) (func() error, error) { return nil, s.consul().remove(keyPrefix + name) }
}

// garbage is no JSON, no name and no text.
var garbage = []byte("{\"term\": \xff\xfe garbage")

// keyGarbage overwrites a key. If the cluster cannot repair it, the operator does: with what was there before.
func keyGarbage(name string, repair bool) func(*strike) (func() error, error) {
	return func(s *strike) (func() error, error) { return s.overwrite(keyPrefix+name, repair) }
}

func (s *strike) overwrite(key string, repair bool) (func() error, error) {
	before, ok, err := s.consul().get(key)
	if err != nil || !ok {
		return nil, fmt.Errorf("no key %s: %w", key, errNotNow)
	}
	done, err := s.consul().put(key, garbage, before.ModifyIndex)
	if err != nil || !done {
		return nil, fmt.Errorf("key %s has just changed: %w", key, errNotNow)
	}
	return func() error {
		if !repair {
			return nil
		}
		return s.c.try(30*time.Second, func() error {
			now, ok, err := s.consul().get(key)
			if err != nil {
				return err
			}
			if !ok || !bytes.Equal(now.Value, garbage) {
				s.note("%s was repaired without us", key)
				return nil
			}
			s.note("repairing %s by hand", key)
			_, err = s.consul().put(key, before.Value, now.ModifyIndex)
			return err
		})
	}, nil
}

func recordGarbage(s *strike) (func() error, error) {
	var keys []string
	if err := s.consul().ask(http.MethodGet, "/v1/kv/"+keyPrefix+"nodes/?keys", nil, &keys); err != nil {
		return nil, err
	}
	for _, key := range keys {
		if nameOf(filepath.Base(key)) == s.target.name {
			return s.overwrite(key, true)
		}
	}
	return nil, fmt.Errorf("%s has no record: %w", s.target.name, errNotNow)
}

func sealsDeleted(s *strike) (func() error, error) {
	return nil, s.consul().remove(keyPrefix + "seal/?recurse")
}
