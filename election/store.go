package election

import (
	"context"
	"fmt"
	"time"
)

// KV is one key with its value at one instant.
type KV struct {
	// Key is the full key, prefix included.
	Key string
	// Value is nil for an empty value.
	Value []byte
	// ModifyIndex grows with every change of the key. A write that changes nothing (same value, same holder) leaves it
	// as it is: whoever wants a new version of the same content must put a counter into the value.
	ModifyIndex uint64
	// CreateIndex is the index at which the key came into being.
	CreateIndex uint64
	// LockIndex counts acquisitions, but a plain Set puts it back to 0: never use it as a term.
	LockIndex uint64
	// Session is the id of the session that holds the key as a lock, "" if nobody does.
	Session string
}

// View is everything below one prefix at one instant, read in one request.
type View struct {
	// Index is what the next [Store.Wait] is given. It can go backwards (the store was restored or wiped); a View with a
	// lower index than the one before is as true as any other and simply replaces it. It is never 0.
	Index uint64
	// KVs holds the keys by their full name.
	KVs map[string]KV
}

// Store is a linearizable key-value store with sessions. All methods are safe for concurrent use and bounded: by the
// deadline of ctx and by the implementation's own request time-out, whichever is earlier.
type Store interface {
	// Read returns everything below prefix. With consistent it is linearizable: it sees every write that was answered
	// before it was sent. Errors: ErrUnreachable, ErrUnavailable, ErrDenied.
	Read(ctx context.Context, prefix string, consistent bool) (View, error)
	// Wait blocks until something below prefix has changed since index, or most has passed, and returns the view then.
	// After an error the caller starts over with Read, since index may belong to a store that is no more.
	Wait(ctx context.Context, prefix string, index uint64, most time.Duration) (View, error)
	// Txn applies all of ops or none, at most 64 of them. ok is false and why says which condition was not met, if it was
	// refused. Errors: ErrUnknown when nobody knows whether it was applied; ErrUnreachable, ErrDenied, ErrRefused when it
	// surely was not.
	Txn(ctx context.Context, ops ...Op) (ok bool, why string, err error)
}

// Verb is what an [Op] does.
type Verb string

// The verbs of a transaction, see the constructors of the same names.
const (
	VerbCAS            Verb = "cas"
	VerbSet            Verb = "set"
	VerbDelete         Verb = "delete"
	VerbDeleteCAS      Verb = "delete-cas"
	VerbCheckSession   Verb = "check-session"
	VerbCheckIndex     Verb = "check-index"
	VerbCheckNotExists Verb = "check-not-exists"
	VerbLock           Verb = "lock"
	VerbUnlock         Verb = "unlock"
)

// Op is one step of a transaction. Use the constructors.
type Op struct {
	Verb    Verb
	Key     string
	Value   []byte
	Index   uint64
	Session string
}

// String names the step without its value, for messages.
func (o Op) String() string { return fmt.Sprintf("%s %s", o.Verb, o.Key) }

// CAS sets key to value if its ModifyIndex is index; with index 0 only if it does not exist. A holder stays the holder.
func CAS(key string, index uint64, value []byte) Op {
	return Op{Verb: VerbCAS, Key: key, Index: index, Value: value}
}

// Set sets key to value whatever it was before. It overwrites a held lock's value, leaves its holder and resets LockIndex.
func Set(key string, value []byte) Op { return Op{Verb: VerbSet, Key: key, Value: value} }

// Delete removes key; a key that does not exist is fine.
func Delete(key string) Op { return Op{Verb: VerbDelete, Key: key} }

// DeleteCAS removes key if its ModifyIndex is index; a key that does not exist is fine.
func DeleteCAS(key string, index uint64) Op {
	return Op{Verb: VerbDeleteCAS, Key: key, Index: index}
}

// CheckSession demands that session holds the lock key (and so is alive).
func CheckSession(key, session string) Op {
	return Op{Verb: VerbCheckSession, Key: key, Session: session}
}

// CheckIndex demands that the ModifyIndex of key is index; 0 demands that the key does not exist.
func CheckIndex(key string, index uint64) Op {
	if index == 0 {
		return Op{Verb: VerbCheckNotExists, Key: key}
	}
	return Op{Verb: VerbCheckIndex, Key: key, Index: index}
}

// Lock makes session the holder of key and sets its value; refused while another session holds it. For the holder it
// succeeds again.
func Lock(key, session string, value []byte) Op {
	return Op{Verb: VerbLock, Key: key, Session: session, Value: value}
}

// Unlock releases key if session holds it, refused otherwise. The value becomes empty.
func Unlock(key, session string) Op { return Op{Verb: VerbUnlock, Key: key, Session: session} }
