package snapshot

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// Errors that callers tell apart with errors.Is. The error around them names
// the object.
var (
	// ErrNotFound: the store answered, and there is no such object.
	ErrNotFound = errors.New("not found")
	// ErrExists: a create-only write, or a restore, found something in its place.
	ErrExists = errors.New("exists already")
	// ErrCorrupt: what was read is not what was written. The message names the
	// object and both sums.
	ErrCorrupt = errors.New("corrupt")
	// ErrIncomplete: something that belongs to the snapshot is missing.
	ErrIncomplete = errors.New("incomplete")
	// ErrNoStore: there is no store at that place, and it is not to be made
	// (StoreOptions.MustExist). The message names the place.
	ErrNoStore = errors.New("does not exist")
)

// Object is one entry of a store's listing.
type Object struct {
	Key      string
	Size     int64     // bytes as stored
	Modified time.Time // by the clock of the store
}

// Store keeps objects under slash-separated keys. It is safe for concurrent
// use. Every call ends when its context ends, and ends with an error of its own
// when nothing has moved for StoreOptions.Stall: no caller needs a watchdog.
// Failed calls are retried inside, a bounded number of times, where that is
// safe.
type Store interface {
	// Put writes all of r, whose size nobody knows yet, replacing what was
	// there. The object appears whole or not at all.
	Put(ctx context.Context, key string, r io.Reader) error
	// PutNew writes a small object if there is none under the key, else it
	// returns ErrExists. Of two concurrent callers one gets ErrExists.
	PutNew(ctx context.Context, key string, data []byte) error
	// Get opens an object and tells its size; ErrNotFound if there is none.
	Get(ctx context.Context, key string) (io.ReadCloser, int64, error)
	// List returns every object whose key begins with prefix, sorted by key.
	List(ctx context.Context, prefix string) ([]Object, error)
	// Delete removes an object; it is no error if there is none.
	Delete(ctx context.Context, key string) error
	// URL says where the store is, without any secret.
	URL() string
}

// sweeper is implemented by stores which can hold leftovers of interrupted
// writes that List does not show.
type sweeper interface {
	// sweep removes leftovers below prefix that were begun before the instant.
	sweep(ctx context.Context, prefix string, before time.Time) error
}

// StoreOptions are the settings which do not belong in a URL. The zero value is
// usable.
type StoreOptions struct {
	// AccessKey, SecretKey and SessionToken are S3 credentials. Without an
	// AccessKey the standard chain is asked: environment, shared files, role.
	AccessKey, SecretKey, SessionToken string
	// CA is the path of a PEM file with a CA for the store's certificate, beside those of the system. OpenStore reads it.
	CA string
	// Manta is for manta: stores.
	Manta MantaOptions
	// CallTimeout bounds every call that moves no stream. Zero means 30 s.
	CallTimeout time.Duration
	// Stall is how long a connection may move no byte in either direction
	// before the call fails. Zero means 30 s.
	Stall time.Duration
	// Attempts is how often a request is sent at most. Zero means 4.
	Attempts int
	// MustExist is for those who only use what others have stored: a bucket or
	// directory that is not there is ErrNoStore and is never made. Without it a
	// store that is not there yet is empty, and the first write makes it.
	MustExist bool

	roots *x509.CertPool // nil: the system's
}

// withDefaults fills in what was left zero.
func (o StoreOptions) withDefaults() StoreOptions {
	if o.CallTimeout <= 0 {
		o.CallTimeout = 30 * time.Second
	}
	if o.Stall <= 0 {
		o.Stall = 30 * time.Second
	}
	if o.Attempts <= 0 {
		o.Attempts = 4
	}
	return o
}

// String leaves the credentials out, so that a stray %v does not print them.
func (o StoreOptions) String() string {
	return fmt.Sprintf("{explicit credentials: %t, call timeout: %s, stall: %s, attempts: %d}",
		o.AccessKey != "", o.CallTimeout, o.Stall, o.Attempts)
}

// GoString leaves the credentials out as well.
func (o StoreOptions) GoString() string { return o.String() }

// LogValue leaves the credentials out as well.
func (o StoreOptions) LogValue() slog.Value { return slog.StringValue(o.String()) }

// accepted is the end of every message about a URL that was not understood.
const accepted = "accepted are file:///dir, s3://bucket/prefix?endpoint=http://host:port&region=us-east-1&path-style=true and manta:///account/stor/dir"

// OpenStore parses a store URL. It does no I/O: a store that is down is an
// error of the first call, never of the start.
func OpenStore(raw string, opts StoreOptions) (Store, error) {
	opts = opts.withDefaults()
	u, err := url.Parse(raw)
	if err != nil {
		// The parser's message repeats the URL, which may hold a secret.
		return nil, errors.New("parse store URL: not a URL; " + accepted)
	}
	if u.User != nil {
		return nil, errors.New("parse store URL: credentials do not belong in the URL; " +
			"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a shared credentials file")
	}
	if opts.roots, err = loadRoots(opts.CA); err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "file":
		return openDir(u, opts)
	case "s3":
		return openS3(u, opts)
	case "manta":
		return openManta(u, opts)
	case "":
		return nil, fmt.Errorf("parse store URL: %q has no scheme; %s", raw, accepted)
	default:
		return nil, fmt.Errorf("parse store URL: unknown scheme %q; %s", u.Scheme, accepted)
	}
}

// checkQuery refuses parameters nobody reads: a misspelt one would silently
// change where the data goes.
func checkQuery(q url.Values, known ...string) error {
	for name := range q {
		found := false
		for _, k := range known {
			found = found || k == name
		}
		if !found {
			return fmt.Errorf("parse store URL: unknown parameter %q; %s", name, accepted)
		}
	}
	return nil
}

// checkKey refuses keys which would leave the store's prefix or directory.
func checkKey(key string) error {
	if key == "" || key == "." || path.Clean(key) != key || !filepath.IsLocal(key) || strings.ContainsRune(key, 0) {
		return fmt.Errorf("check key: %q is not a plain relative key", key)
	}
	return nil
}
