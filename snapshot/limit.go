package snapshot

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Limiter bounds the bytes per second of everything that shares it. Nil does
// not limit. Safe for concurrent use.
type Limiter struct {
	rate float64 // bytes per second

	mu   sync.Mutex
	next time.Time // when the next byte may pass
}

// NewLimiter returns a limiter, nil for no limit.
func NewLimiter(bytesPerSecond int64) *Limiter {
	if bytesPerSecond <= 0 {
		return nil
	}
	return &Limiter{rate: float64(bytesPerSecond)}
}

// limitPiece is the most that passes at once: a slow rate is then a steady one.
const limitPiece = 64 << 10

// wait waits until n bytes may pass.
func (l *Limiter) wait(ctx context.Context, n int) error {
	l.mu.Lock()
	now := time.Now()
	if l.next.Before(now) {
		l.next = now
	}
	at := l.next
	l.next = at.Add(time.Duration(float64(n) / l.rate * float64(time.Second)))
	l.mu.Unlock()
	t := time.NewTimer(at.Sub(now))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// reader limits r.
func (l *Limiter) reader(ctx context.Context, r io.Reader) io.Reader {
	if l == nil {
		return r
	}
	return limited{ctx, l, r}
}

type limited struct {
	ctx context.Context
	l   *Limiter
	r   io.Reader
}

// Read implements io.Reader.
func (r limited) Read(p []byte) (int, error) {
	n, err := r.r.Read(p[:min(len(p), limitPiece)])
	if n > 0 {
		if e := r.l.wait(r.ctx, n); e != nil {
			return n, e
		}
	}
	return n, err
}

// transferAttempts is how often a part is sent or fetched at least.
const transferAttempts = 4

// persist calls try until it succeeds, has failed transferAttempts times and no
// success came for patience, or a further try is pointless. What was stored or
// fetched before stays: only this part begins anew.
func persist(ctx context.Context, patience time.Duration, try func() error) error {
	var since time.Time
	for n := 1; ; n++ {
		err := try()
		switch {
		case err == nil, ctx.Err() != nil, hopeless(err):
			return err
		case n == 1:
			since = time.Now()
		}
		if n >= transferAttempts && time.Since(since) >= patience {
			return err
		}
		if e := pause(ctx, n); e != nil {
			return errors.Join(e, err)
		}
	}
}

// hopeless tells errors that are the same the next time: the store has answered.
func hopeless(err error) bool {
	if strings.HasPrefix(code(err), "DirectoryDoesNotExist") {
		return false // Manta: somebody removed it meanwhile because it was empty
	}
	switch code(err) { // what went wrong on the way, or with a store that was restarted in the middle of an upload
	case "RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch", "ExpiredToken", "NoSuchUpload":
		return false
	}
	switch status(err) {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusNotImplemented:
		return true
	}
	return errors.Is(err, ErrNotFound) || errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EINVAL)
}
