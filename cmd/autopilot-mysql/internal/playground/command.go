package playground

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/parts"
)

// SupervisedEnv is set for the process that `up --detach` starts: it is the supervisor.
const SupervisedEnv = "PLAYGROUND_SUPERVISED"

// UpRequest is one `playground up`.
type UpRequest struct {
	Options                  // Mysqld and ConsulBin may be empty or as the user named them: they are found or fetched
	Detach     bool          // return when ready and leave it running, in a process started from Argv
	Supervised bool          // this is that process
	Argv       []string      // this very call, program included
	Offline    bool          // never fetch a part
	Timeout    time.Duration // how long the cluster may take to become ready; 0 is DefaultTimeout
	JSON       bool          // the result is playground.json's content, not its path
	Stdout     io.Writer     // results
	Stderr     io.Writer     // progress
}

// Up is `playground up`. In the foreground it returns when the playground has ended.
func Up(ctx context.Context, r UpRequest) error {
	if r.Nodes < 0 || r.Acks < 0 || r.RestartAfter != nil && *r.RestartAfter < 0 {
		return usagef("start playground: --nodes, --acks and --restart-after must not be negative")
	}
	if r.Timeout == 0 {
		r.Timeout = DefaultTimeout
	}
	lay, err := newLayout(r.Dir)
	if err != nil {
		return err
	}
	found, err := parts.Find(ctx, parts.Options{Mysqld: r.Mysqld, Consul: r.ConsulBin, NoConsul: r.Consul != "", Offline: r.Offline, Progress: r.Stderr})
	if err != nil {
		return err
	}
	if r.Detach && !r.Supervised {
		fmt.Fprintln(r.Stderr, found)
		if err := detach(ctx, lay, r.Argv, r.Stderr); err != nil {
			return err
		}
		if r.JSON {
			return copyDocument(r.Stdout, lay)
		}
		fmt.Fprintln(r.Stdout, lay.document())
		return nil
	}
	o := r.Options
	o.Dir, o.Mysqld, o.ConsulBin, o.ConsulVersion = lay.dir, found.Mysqld, found.Consul, found.ConsulVersion
	ready := func() error { return nil }
	if r.JSON && !r.Supervised { // the output of that process is its log
		ready = func() error { return copyDocument(r.Stdout, lay) }
	}
	return supervise(ctx, o, r.Timeout, r.Stderr, ready)
}

// copyDocument prints playground.json as it is now.
func copyDocument(w io.Writer, lay layout) error {
	b, err := os.ReadFile(lay.document())
	if err == nil {
		_, err = w.Write(append(bytes.TrimSpace(b), '\n'))
	}
	if err != nil {
		return fmt.Errorf("print playground: %w", err)
	}
	return nil
}

// Remote gives orders to the supervisor of a running playground. Every order is bounded, and a refusal is an error with an
// exit code. Without a supervisor the error is ErrNoSupervisor.
type Remote struct {
	Dir  string    // "" is DefaultDir
	Out  io.Writer // gets one line, or one document, when something was done
	JSON bool
}

// told is what was done, for tools. The nodes are in the document.
type told struct {
	Subject  string `json:"subject"` // the node's name, or playground
	Done     string `json:"done"`
	Document string `json:"document"` // path of playground.json
}

func (r Remote) tell(lay layout, subject, done string) error {
	if r.JSON {
		return json.NewEncoder(r.Out).Encode(told{subject, done, lay.document()})
	}
	_, err := fmt.Fprintf(r.Out, "%s: %s\n", subject, done)
	return err
}

// Kill returns when no process of the node is left.
func (r Remote) Kill(ctx context.Context, node string) error {
	return r.order(ctx, killTimeout+10*time.Second, "/kill?node="+url.QueryEscape(node), node)
}

// Stop returns when the node is down.
func (r Remote) Stop(ctx context.Context, node string) error {
	return r.order(ctx, stopTimeout+killTimeout+10*time.Second, "/stop?node="+url.QueryEscape(node), node)
}

// Start returns when the node's process runs.
func (r Remote) Start(ctx context.Context, node string) error {
	return r.order(ctx, 30*time.Second, "/start?node="+url.QueryEscape(node), node)
}

// Add returns when the new nodes follow the primary, or limit is over.
func (r Remote) Add(ctx context.Context, count int, limit time.Duration) error {
	return r.order(ctx, limit+30*time.Second, fmt.Sprintf("/add?count=%d&limit=%s", count, limit), "playground")
}

func (r Remote) order(ctx context.Context, limit time.Duration, path, subject string) error {
	lay, err := openLayout(r.Dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %v", limit))
	defer cancel()
	var res result
	if err := call(ctx, lay, "POST", path, &res); err != nil {
		return err
	}
	return r.tell(lay, subject, res.Done)
}

// Down returns when no process of the playground is left, also when its supervisor had died.
func (r Remote) Down(ctx context.Context) error {
	lay, err := openLayout(r.Dir)
	if err != nil {
		return err
	}
	said, err := downAny(ctx, lay)
	if err != nil {
		return err
	}
	return r.tell(lay, "playground", said)
}

// downAny ends the playground through its supervisor, or without.
func downAny(ctx context.Context, lay layout) (said string, err error) {
	// Two rounds of nodes, each stopped or killed, and Consul.
	limit := 2*(stopTimeout+killTimeout) + 30*time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %v", limit))
	defer cancel()
	var s supervisorState
	if err := call(ctx, lay, "GET", "/state", &s); err != nil {
		// It is gone, or just going: the lock tells, which ends with the process.
		count, downErr := downWithoutSupervisor(ctx, lay)
		if errors.Is(downErr, ErrRunning) {
			return "", fmt.Errorf("take playground down: its supervisor runs but does not answer: %w", err)
		}
		if downErr != nil {
			return "", fmt.Errorf("take playground down: %w", downErr)
		}
		return fmt.Sprintf("down; the supervisor was gone already, ended %d processes it left", count), nil
	}
	var res result
	callErr := call(ctx, lay, "POST", "/down", &res)
	if err := waitGone(ctx, []procID{s.Supervisor}); err != nil {
		return "", errors.Join(callErr, err)
	}
	if callErr != nil {
		return "", callErr
	}
	return res.Done, nil
}
