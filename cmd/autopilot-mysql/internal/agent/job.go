package agent

import (
	"context"
	"errors"
	"sync"
)

// job is one long piece of work of the present state. It runs beside the loop and touches nothing of it: what it found
// out is applied by the loop, on the loop's goroutine, when it is done.
type job struct {
	cancel context.CancelCauseFunc
	left   bool // the state it belongs to was left: its outcome matters to nobody

	mu    sync.Mutex
	say   string
	done  bool
	apply func(context.Context) error
	err   error
}

// begin starts work in the scope of the present state. The work returns what the loop shall do with its result.
func (a *Agent) begin(what string, work func(ctx context.Context, say func(string)) (apply func(context.Context) error, err error)) {
	ctx, cancel := context.WithCancelCause(a.machine.Scope())
	j := &job{cancel: cancel, say: what}
	a.job = j
	say := func(s string) {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.say = s
	}
	go func() {
		defer cancel(nil)
		apply, err := work(ctx, say)
		j.mu.Lock()
		j.done, j.apply, j.err = true, apply, err
		j.mu.Unlock()
		a.wake()
	}()
}

func (j *job) sentence() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.say
}

// settle applies a finished job. It reports whether there was one, and an ending if it
// found out that the node cannot go on.
func (a *Agent) settle(ctx context.Context) (was bool, end *ending) {
	if a.job == nil {
		return false, nil
	}
	j := a.job
	j.mu.Lock()
	done, apply, err := j.done, j.apply, j.err
	j.mu.Unlock()
	if !done {
		return false, nil
	}
	a.job = nil
	if j.left && err != nil {
		return true, nil
	}
	if err == nil && apply != nil {
		err = apply(ctx)
	}
	if errors.Is(err, errSnapshotComing) {
		a.jobTrouble = err.Error()
		pause(ctx, jobRetry)
		return true, nil
	}
	if r := (*Refusal)(nil); errors.As(err, &r) {
		return true, &ending{r.Code, r.Error()}
	}
	if err != nil {
		a.Log.Warn("job failed; it will be tried again", "job", j.sentence(), "err", err)
		a.jobTrouble = err.Error()
		pause(ctx, jobRetry)
	} else {
		a.jobTrouble = ""
	}
	return true, nil
}
