package playground

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// phase is how far a supervisor is.
type phase string

const (
	phaseStarting phase = "starting"
	phaseReady    phase = "ready"
	phaseFailed   phase = "failed"
)

// maxLines bounds what a supervisor remembers of what it said.
const maxLines = 1000

// supervisorState is what GET /state answers.
type supervisorState struct {
	Phase      phase    `json:"phase"`
	Error      string   `json:"error,omitempty"`
	Supervisor procID   `json:"supervisor"`
	Lines      []string `json:"lines"` // what was said since the line number asked for
	Next       int      `json:"next"`
}

// control is the supervisor's HTTP interface on the unix socket: whoever may open the socket is the user itself.
type control struct {
	p      *Playground
	server *http.Server
	ends   chan chan error // asks the supervisor to end, and gets how that went

	mu    sync.Mutex
	phase phase
	err   string
	lines []string
}

// newControl collects lines from the beginning; serve begins later, when the directory is ours.
func newControl() *control {
	return &control{phase: phaseStarting, ends: make(chan chan error)}
}

func (c *control) say(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, line)
	// Nobody asks for old lines once the cluster is ready.
	if len(c.lines) > maxLines && c.phase != phaseStarting {
		c.lines = nil
	}
}

func (c *control) set(ph phase, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.phase = ph
	if err != nil {
		c.err = err.Error()
	}
}

// serve answers on the socket until close.
func (c *control) serve(p *Playground) error {
	c.p = p
	path := p.lay.socket()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("create socket directory: %w", err)
	}
	// We hold the lock, so whoever left a socket here is gone.
	_ = os.Remove(path)
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return fmt.Errorf("protect socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /state", c.state)
	mux.HandleFunc("POST /kill", c.act(func(ctx context.Context, q url.Values) (string, error) {
		return "killed", p.Kill(ctx, q.Get("node"))
	}))
	mux.HandleFunc("POST /stop", c.act(func(ctx context.Context, q url.Values) (string, error) {
		return "stopped", p.Stop(ctx, q.Get("node"))
	}))
	mux.HandleFunc("POST /start", c.act(func(_ context.Context, q url.Values) (string, error) {
		return "started", p.StartNode(q.Get("node"))
	}))
	mux.HandleFunc("POST /add", c.act(c.add))
	mux.HandleFunc("POST /down", c.act(c.askDown))
	c.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := c.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			p.log.printf("the control socket failed: %v", err)
		}
	}()
	return nil
}

// close lets answers on their way go out.
func (c *control) close() {
	if c.server == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := c.server.Shutdown(ctx); err != nil {
		c.server.Close()
	}
}

func (c *control) state(w http.ResponseWriter, r *http.Request) {
	after, err := strconv.Atoi(r.FormValue("after"))
	if err != nil {
		after = 0
	}
	me, _ := identify(os.Getpid())
	c.mu.Lock()
	s := supervisorState{Phase: c.phase, Error: c.err, Supervisor: me, Next: len(c.lines)}
	if after >= 0 && after < len(c.lines) {
		s.Lines = append(s.Lines, c.lines[after:]...)
	}
	c.mu.Unlock()
	answer(w, http.StatusOK, s)
}

// add returns when the new nodes follow, or the time of the request is over.
func (c *control) add(ctx context.Context, q url.Values) (string, error) {
	count, err := strconv.Atoi(q.Get("count"))
	if err != nil {
		return "", usagef("add nodes: %q is no number", q.Get("count"))
	}
	limit := DefaultTimeout
	if text := q.Get("limit"); text != "" {
		if limit, err = time.ParseDuration(text); err != nil {
			return "", usagef("add nodes: %q is no duration", text)
		}
	}
	names, err := c.p.Add(count)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errors.New("not within "+limit.String()))
	defer cancel()
	if err := c.p.WaitNodes(ctx, names...); err != nil {
		return "", err
	}
	return fmt.Sprintf("added %v", names), nil
}

func (c *control) askDown(ctx context.Context, _ url.Values) (string, error) {
	how := make(chan error, 1)
	select {
	case c.ends <- how:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	select {
	case err := <-how:
		return "down", err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// result is the answer to an action.
type result struct {
	Done  string `json:"done,omitempty"`
	Error string `json:"error,omitempty"`
	Code  int    `json:"code,omitempty"` // exit code for the error
}

func (c *control) act(f func(context.Context, url.Values) (string, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		done, err := f(r.Context(), r.URL.Query())
		if err == nil {
			answer(w, http.StatusOK, result{Done: done})
			return
		}
		res := result{Error: err.Error(), Code: 1}
		var coded interface{ ExitCode() int }
		if errors.As(err, &coded) {
			res.Code = coded.ExitCode()
		}
		answer(w, http.StatusConflict, res)
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A client that has gone away does not need it.
	_ = json.NewEncoder(w).Encode(v)
}

// ErrNoSupervisor means that nothing answers on the socket.
var ErrNoSupervisor = errors.New("no playground is running there; `playground up` starts it")

// remoteError is a failure the supervisor reported.
type remoteError struct {
	msg  string
	code int
}

func (e *remoteError) Error() string { return e.msg }
func (e *remoteError) ExitCode() int { return e.code }

// call talks to the supervisor of lay. Without one the error is ErrNoSupervisor.
func call(ctx context.Context, lay layout, method, path string, into any) error {
	dialer := &net.Dialer{}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, "unix", lay.socket())
			if err != nil && ctx.Err() == nil {
				return nil, fmt.Errorf("%w (%s)", ErrNoSupervisor, lay.dir)
			}
			return conn, err
		}}}
	req, err := http.NewRequestWithContext(ctx, method, "http://supervisor"+path, nil)
	if err != nil {
		return fmt.Errorf("call supervisor: %w", err)
	}
	resp, err := c.Do(req)
	if errors.Is(err, ErrNoSupervisor) || method == http.MethodGet && errors.Is(err, syscall.ECONNRESET) { // it was just dying
		return fmt.Errorf("%w (%s)", ErrNoSupervisor, lay.dir)
	}
	if err != nil {
		return fmt.Errorf("call supervisor: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var res result
		if err := json.NewDecoder(resp.Body).Decode(&res); err != nil || res.Error == "" {
			return fmt.Errorf("call supervisor: %s", resp.Status)
		}
		return &remoteError{msg: res.Error, code: res.Code}
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("call supervisor: %w", err)
	}
	return nil
}
