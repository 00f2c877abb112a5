package guard

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	helloTimeout = 5 * time.Second
	// feedTimeout bounds Feed, which is called from the loop that renews the lease: longer than the
	// guard ever takes unless it is frozen, shorter than a renewal request may take.
	feedTimeout = 250 * time.Millisecond
	exitTimeout = 2 * time.Second
)

// Client is the agent's side. All methods are safe for concurrent use.
type Client struct {
	// FeedTimeout bounds Feed, instead of a quarter of a second: for tests, on machines that pause. Set it before the first.
	FeedTimeout time.Duration

	conn  *net.UnixConn
	out   chan []byte
	exits chan Exit
	stops chan os.Signal
	done  chan struct{} // closed when the connection is lost

	mu      sync.Mutex
	nextID  uint64
	pending map[uint64]chan message
	mysqld  int
	kills   uint64
	memory  []byte
}

// Connect takes over the connection this process inherited from the guard. Call it once, before any
// other process is started, and install handlers for SIGHUP, SIGUSR1 and SIGUSR2 before it: from then
// on the guard forwards them.
func Connect() (*Client, error) { return connect(helloTimeout) }

func connect(hello time.Duration) (*Client, error) {
	v := os.Getenv(EnvFD)
	if v == "" {
		return nil, fmt.Errorf("connect to the guard: %s is not set: the agent is started by the guard, not by hand", EnvFD)
	}
	fd, err := strconv.Atoi(v)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("connect to the guard: %s=%q is not a descriptor", EnvFD, v)
	}
	unix.CloseOnExec(fd)
	if err := os.Unsetenv(EnvFD); err != nil {
		return nil, fmt.Errorf("connect to the guard: %w", err)
	}
	file := os.NewFile(uintptr(fd), "guard")
	conn, err := unixConn(file)
	file.Close() //nolint:errcheck // conn has a descriptor of its own
	if err != nil {
		return nil, fmt.Errorf("connect to the guard: %w", err)
	}
	return newClient(conn, hello)
}

// newClient says hello on conn.
func newClient(conn *net.UnixConn, hello time.Duration) (*Client, error) {
	c := &Client{
		FeedTimeout: feedTimeout, conn: conn, out: make(chan []byte, 16), exits: make(chan Exit, 16), stops: make(chan os.Signal, 4),
		done: make(chan struct{}), pending: map[uint64]chan message{},
	}
	go c.read()
	go c.write()
	ctx, cancel := context.WithTimeout(context.Background(), hello)
	defer cancel()
	m, err := c.call(ctx, request{Op: opHello})
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connect to the guard: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.memory = m.Memory
	return c, nil
}

// Start starts mysqld, without a deadline, and returns its pid when the program is loaded. ErrRunning if
// there is one. After an UnknownError Mysqld tells what became of it.
func (c *Client) Start(ctx context.Context, cmd Command) (int, error) {
	m, err := c.call(ctx, request{Op: opStart, Command: &cmd})
	if err != nil {
		return 0, err
	}
	return m.Mysqld, nil
}

// Signal sends a signal to mysqld; ErrNotRunning if there is none. SIGTERM is for the agent to judge: see
// the package comment.
func (c *Client) Signal(ctx context.Context, sig syscall.Signal) error {
	_, err := c.call(ctx, request{Op: opSignal, Signal: sig})
	return err
}

// Kill sends SIGKILL and returns when mysqld is reaped, at once if there is none. Its Exit is in Exits by then.
func (c *Client) Kill(ctx context.Context) error {
	_, err := c.call(ctx, request{Op: opKill})
	return err
}

// Feed says that mysqld may live until deadline (CLOCK_BOOTTIME), or without limit when deadline is 0: it
// is not a primary. It returns nil only when the guard has taken it, and within a quarter of a second: an
// UnknownError means that the guard may still act on the deadline before. ErrKilled and ErrNotRunning say
// that it came too late. Memory (at most MaxMemory bytes) is kept for the next agent, also when an error
// is returned; nil keeps what is there.
func (c *Client) Feed(deadline time.Duration, memory []byte) error {
	if len(memory) > MaxMemory {
		return fmt.Errorf("feed: memory of %d bytes is more than %d", len(memory), MaxMemory)
	}
	if deadline < 0 {
		return fmt.Errorf("feed: negative deadline %v", deadline)
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.FeedTimeout)
	defer cancel()
	pid, _ := c.Mysqld()
	_, err := c.call(ctx, request{Op: opFeed, Deadline: deadline, Pid: pid, Memory: memory})
	return err
}

// Exit asks the guard to end everything and to exit with code (or MysqldStatus), printing reason (if any) as one line. A
// mysqld that still runs is killed: stop it first. It returns when the guard has taken it; the caller
// then ends this process, within 5 s.
func (c *Client) Exit(code int, reason string) {
	ctx, cancel := context.WithTimeout(context.Background(), exitTimeout)
	defer cancel()
	// The only error is a guard that does not answer, and then its parent-death signal ends us.
	_, _ = c.call(ctx, request{Op: opExit, Code: code, Reason: reason})
}

// Mysqld is the mysqld that runs as far as the guard has told.
func (c *Client) Mysqld() (pid int, running bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mysqld, c.mysqld != 0
}

// Memory is what the previous agent fed last; nil if there was none. Feed does not change it.
func (c *Client) Memory() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.memory)
}

// DeadlineKills counts the mysqlds that the guard killed at their deadline since it started.
func (c *Client) DeadlineKills() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kills
}

// Exits delivers the end of every mysqld, also of one that ended while there was no agent.
func (c *Client) Exits() <-chan Exit { return c.exits }

// Stop delivers the request for a graceful stop, once.
func (c *Client) Stop() <-chan os.Signal { return c.stops }

// Done is closed when the connection to the guard is lost.
func (c *Client) Done() <-chan struct{} { return c.done }

// call sends a request and waits for its answer.
func (c *Client) call(ctx context.Context, r request) (message, error) {
	answer := make(chan message, 1)
	c.mu.Lock()
	c.nextID++
	r.ID = c.nextID
	c.pending[r.ID] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pending, r.ID)
		c.mu.Unlock()
	}()
	line, err := json.Marshal(r)
	if err != nil {
		return message{}, fmt.Errorf("%s: encode request: %w", r.Op, err)
	}
	if len(line) >= maxLine {
		return message{}, fmt.Errorf("%s: request of %d bytes is too long", r.Op, len(line))
	}
	select {
	case c.out <- append(line, '\n'):
	case <-ctx.Done():
		return message{}, fmt.Errorf("%s: not sent, the guard does not read: %w", r.Op, ctx.Err())
	case <-c.done:
		return message{}, fmt.Errorf("%s: not sent: %w", r.Op, ErrGone)
	}
	select {
	case m := <-answer:
		return m, m.err()
	case <-ctx.Done():
		return message{}, &UnknownError{Op: r.Op, Err: ctx.Err()}
	case <-c.done:
		return message{}, &UnknownError{Op: r.Op, Err: ErrGone}
	}
}

// write sends the queued requests; only here a guard that does not read is waited for.
func (c *Client) write() {
	for {
		select {
		case line := <-c.out:
			if _, err := c.conn.Write(line); err != nil {
				return
			}
		case <-c.done:
			return
		}
	}
}

// read takes the guard's messages until the connection ends.
func (c *Client) read() {
	defer close(c.done)
	in := bufio.NewScanner(c.conn)
	in.Buffer(make([]byte, 0, 4096), maxLine)
	for in.Scan() {
		var m message
		if json.Unmarshal(in.Bytes(), &m) != nil {
			return
		}
		c.take(m)
	}
}

// take handles one message. Its channels have room for all that can come before an agent must have
// looked; a full one means that nobody ever will.
func (c *Client) take(m message) {
	c.mu.Lock()
	c.mysqld, c.kills = m.Mysqld, m.Kills
	answer := c.pending[m.ID]
	c.mu.Unlock()
	switch {
	case m.Exit != nil:
		select {
		case c.exits <- *m.Exit:
		default:
		}
	case m.Stop != 0:
		select {
		case c.stops <- m.Stop:
		default:
		}
	case answer != nil:
		answer <- m
	}
}
