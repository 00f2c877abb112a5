package playground

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// supervise runs a playground in this process until ctx ends, a signal comes or `down` asks for it, and then ends all of
// it. What it says goes to out; told is called once it is ready. A second signal ends the nodes by force.
func supervise(ctx context.Context, o Options, timeout time.Duration, out io.Writer, told func() error) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	ctl := newControl()
	o.Log = func(line string) {
		ctl.say(line)
		fmt.Fprintf(out, "%s %s\n", time.Now().Format(time.TimeOnly), line)
	}
	began := time.Now()
	p, err := Start(ctx, o)
	if err != nil {
		return err
	}
	if err := ctl.serve(p); err != nil {
		p.abort()
		return err
	}
	defer ctl.close()
	ready, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("not ready within %v", timeout))
	defer cancel()
	readied := make(chan error, 1)
	go func() { readied <- p.WaitReady(ready) }()
	select {
	case err = <-readied:
	case how := <-ctl.ends:
		return p.end(stop, how)
	}
	if err != nil {
		ctl.set(phaseFailed, err)
		if ctx.Err() != nil {
			err = errors.New("interrupted before the cluster was ready")
		}
		return errors.Join(err, p.end(stop, nil))
	}
	p.log.printf("ready in %.1fs: %s", time.Since(began).Seconds(), p.Dir())
	ctl.set(phaseReady, nil)
	if err := told(); err != nil {
		return errors.Join(err, p.end(stop, nil))
	}
	watching, unwatch := context.WithCancel(ctx)
	defer unwatch()
	go p.narrate(watching)
	select {
	case <-ctx.Done():
		return p.end(stop, nil)
	case how := <-ctl.ends:
		return p.end(stop, how)
	}
}

// end takes the playground down; a signal that comes now ends the nodes by force.
func (p *Playground) end(stopListening func(), how chan<- error) error {
	stopListening()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p.log.printf("stopping %d nodes", len(p.all()))
	err := p.Down(ctx)
	if err == nil {
		p.log.printf("all stopped; %q brings the same cluster back", resumeHint(p.Dir()))
	}
	if how != nil {
		how <- err
	}
	return err
}

// narrate says who is what, whenever it changes.
func (p *Playground) narrate(ctx context.Context) {
	shown := &lastView{}
	shown.isNew(p.Document().Line())
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
		if line := p.Document().Line(); shown.isNew(line) {
			p.log.printf("%s", line)
		}
	}
}

// detach starts argv as a supervisor in a session of its own, shows what it says until the cluster is ready, and leaves
// it running. When it fails, or ctx ends, nothing is left running.
func detach(ctx context.Context, lay layout, argv []string, out io.Writer) error {
	logPath := lay.file("supervisor.log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("open supervisor's log: %w", err)
	}
	defer log.Close()                         //nolint:errcheck // the supervisor has its own
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:noctx // it is meant to outlive this command
	cmd.Env = append(os.Environ(), SupervisedEnv+"=1")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start supervisor: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	follow := follower{lay: lay, pid: cmd.Process.Pid, out: out}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return &remoteError{msg: supervisorError(logPath, err), code: max(1, cmd.ProcessState.ExitCode())}
		case <-ctx.Done():
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return fmt.Errorf("stop supervisor: %w", err)
			}
			<-done // bounded by the supervisor's own limits
			return fmt.Errorf("start playground: %w; all is stopped", context.Cause(ctx))
		case <-tick.C:
			if follow.ready(ctx) {
				return nil
			}
		}
	}
}

// follower shows a starting supervisor's lines.
type follower struct {
	lay  layout
	pid  int
	out  io.Writer
	next int
}

func (f *follower) ready(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var s supervisorState
	// It does not answer before it has taken the directory; an answer of another supervisor does not count.
	if err := call(ctx, f.lay, "GET", fmt.Sprintf("/state?after=%d", f.next), &s); err != nil || s.Supervisor.Pid != f.pid {
		return false
	}
	for _, line := range s.Lines {
		fmt.Fprintf(f.out, "%s %s\n", time.Now().Format(time.TimeOnly), line)
	}
	f.next = s.Next
	return s.Phase == phaseReady
}

// supervisorError is the last line of the log that is none of a working supervisor, whose lines begin with the time: the
// error by which this one ended. Another one may be writing there.
func supervisorError(logPath string, err error) string {
	b, readErr := os.ReadFile(logPath)
	last := ""
	for _, line := range slices.Backward(strings.Split(strings.TrimSpace(string(b)), "\n")) {
		if _, narrated := time.Parse(time.TimeOnly, line[:min(len(line), len(time.TimeOnly))]); narrated != nil {
			last = line
			break
		}
	}
	if readErr != nil || last == "" {
		return fmt.Sprintf("the supervisor ended: %v", err)
	}
	return strings.TrimPrefix(last, filepath.Base(os.Args[0])+": ") + " (log: " + logPath + ")"
}
