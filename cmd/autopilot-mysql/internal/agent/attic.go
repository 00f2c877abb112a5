package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

const (
	// keptDir is the folder of differences in the node's directory.
	keptDir = "diverged"
	// keptMost is how many differences are kept without a store; the oldest goes first.
	keptMost = 8
	// keptRecord describes a difference, beside its logs.
	keptRecord = "difference.json"
	// uploadRetry is the pause after a failed upload; it doubles up to uploadRetryMax.
	uploadRetry    = 5 * time.Second
	uploadRetryMax = 5 * time.Minute
)

// attic holds what former incarnations of this node had and the cluster did not, until the store has it; without a store,
// for good, as long as there are not too many. Safe for concurrent use.
type attic struct {
	dir     string // D/diverged
	cluster string
	store   snapshot.Store // nil: none
	keys    *snapshot.Keys // encrypt what goes there; nil: nothing is encrypted
	log     *slog.Logger
	kick    chan struct{}

	mu       sync.Mutex
	sentence string
}

func newAttic(dir, cluster string, store snapshot.Store, keys *snapshot.Keys, log *slog.Logger) *attic {
	return &attic{dir: filepath.Join(dir, keptDir), cluster: cluster, store: store, keys: keys, log: log, kick: make(chan struct{}, 1)}
}

func (k *attic) path(d difference) string { return filepath.Join(k.dir, d.name()) }

// say is what an operator should know about it; "" when there is nothing.
func (k *attic) say() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.sentence
}

func (k *attic) tell(sentence string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sentence = sentence
}

// keep puts files aside under the difference's name. It is complete or not there at all; keeping it again changes nothing.
func (k *attic) keep(ctx context.Context, d difference, files []string, progress func(done, total int)) error {
	if _, err := os.Stat(k.path(d)); err == nil {
		return nil
	}
	tmp := k.path(d) + ".tmp"
	if err := errors.Join(os.RemoveAll(tmp), os.MkdirAll(tmp, 0o750)); err != nil {
		return fmt.Errorf("keep difference: %w", err)
	}
	for n, f := range files {
		progress(n, len(files))
		if err := linkOrCopy(ctx, f, filepath.Join(tmp, filepath.Base(f))); err != nil {
			return errors.Join(fmt.Errorf("keep difference: %w", err), os.RemoveAll(tmp))
		}
	}
	b, err := json.MarshalIndent(d, "", "  ")
	if err == nil {
		err = writeDurably(filepath.Join(tmp, keptRecord), append(b, '\n'))
	}
	if err == nil {
		err = os.Rename(tmp, k.path(d))
	}
	if err == nil {
		err = errors.Join(syncDir(k.dir), syncDir(filepath.Dir(k.dir)))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keep difference: %w", err), os.RemoveAll(tmp))
	}
	select {
	case k.kick <- struct{}{}:
	default:
	}
	return nil
}

// linkOrCopy links, which takes neither time nor space, unless the two lie on different file systems.
func linkOrCopy(ctx context.Context, from, to string) error {
	err := os.Link(from, to)
	if err == nil || !errors.Is(err, syscall.EXDEV) {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // only read
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, readerUntil{ctx, in})
	return errors.Join(err, out.Sync(), out.Close())
}

// readerUntil reads until its context ends.
type readerUntil struct {
	ctx context.Context
	r   io.Reader
}

func (r readerUntil) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// run uploads what is kept until ctx ends.
func (k *attic) run(ctx context.Context) {
	retry := uploadRetry
	for ctx.Err() == nil {
		wait := uploadRetryMax
		if err := k.work(ctx); err != nil {
			k.log.Warn("archive kept differences; it will be tried again", "err", err, "in", retry.String())
			wait, retry = retry, min(2*retry, uploadRetryMax)
		} else {
			retry = uploadRetry
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-k.kick:
		case <-t.C:
		}
		t.Stop()
	}
}

// work uploads everything, or without a store forgets the oldest beyond what is kept.
func (k *attic) work(ctx context.Context) error {
	names, err := k.list()
	if err != nil {
		return err
	}
	if k.store == nil {
		for len(names) > keptMost {
			k.log.Warn("forgetting the oldest difference; there is no store, and only so many are kept", "dir", filepath.Join(k.dir, names[0]), "kept", keptMost)
			if err := os.RemoveAll(filepath.Join(k.dir, names[0])); err != nil {
				return fmt.Errorf("forget difference: %w", err)
			}
			names = names[1:]
		}
		k.tell(sentence(k.dir, names, "there is no store to archive it in"))
		return nil
	}
	for len(names) > 0 {
		if err := k.upload(ctx, names[0]); err != nil {
			k.tell(sentence(k.dir, names, err.Error()))
			return err
		}
		names = names[1:]
	}
	k.tell("")
	return nil
}

func sentence(dir string, names []string, why string) string {
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("what only this node had is kept in %s (%s): %s", dir, strings.Join(names, ", "), why)
}

// list names what is kept, the oldest first.
func (k *attic) list() ([]string, error) {
	entries, err := os.ReadDir(k.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list kept differences: %w", err)
	}
	var names []string
	at := map[string]time.Time{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !e.IsDir() || strings.HasSuffix(e.Name(), ".tmp") {
			continue
		}
		names, at[e.Name()] = append(names, e.Name()), info.ModTime()
	}
	slices.SortFunc(names, func(a, b string) int { return at[a].Compare(at[b]) })
	return names, nil
}

func (k *attic) upload(ctx context.Context, name string) error {
	dir := filepath.Join(k.dir, name)
	b, err := os.ReadFile(filepath.Join(dir, keptRecord))
	if err != nil {
		return fmt.Errorf("read kept difference: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read kept difference: %w", err)
	}
	var files []string
	for _, e := range entries {
		if e.Name() != keptRecord {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	key, err := snapshot.Archive(ctx, k.store, k.keys, k.cluster, name, json.RawMessage(b), files)
	if err != nil && !errors.Is(err, snapshot.ErrExists) {
		return err
	}
	k.log.Info("archived the difference", "key", key, "name", name)
	return os.RemoveAll(dir)
}
