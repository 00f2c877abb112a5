package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// status returns the HTTP status a failed request was answered with, or 0 if
// there was no answer.
func status(err error) int {
	var r interface{ HTTPStatusCode() int }
	if errors.As(err, &r) {
		return r.HTTPStatusCode()
	}
	return 0
}

// code returns the S3 error code of a failed request, or "".
func code(err error) string {
	var a interface{ ErrorCode() string }
	if errors.As(err, &a) {
		return a.ErrorCode()
	}
	return ""
}

// errIf returns err if the condition holds.
func errIf(cond bool, err error) error {
	if cond {
		return err
	}
	return nil
}

// pause waits before the n-th repetition: 200 ms, 400 ms, … at most 3.2 s.
func pause(ctx context.Context, n int) error {
	t := time.NewTimer(100 * time.Millisecond << min(n, 5))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// readAll reads a small object, and refuses one larger than limit.
func readAll(ctx context.Context, s Store, key string, limit int64) ([]byte, error) {
	body, _, err := s.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("read %s: %w: larger than %d bytes", key, ErrCorrupt, limit)
	}
	return data, nil
}
