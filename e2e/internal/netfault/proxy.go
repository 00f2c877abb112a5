// Package netfault is a TCP proxy that misbehaves on demand.
package netfault

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Mode is what the proxy does with connections.
type Mode int

// Modes of a proxy. A change takes effect at once, also on connections that are open.
const (
	Pass   Mode = iota
	Refuse      // connections are reset
	Hang        // connections are taken and nothing moves
	Slow        // every read waits slowness first, and brings little
)

const (
	slowness = 200 * time.Millisecond
	little   = 16 << 10
)

// Proxy forwards connections to a server. Safe for concurrent use.
type Proxy struct {
	target string
	l      net.Listener
	ctx    context.Context
	wg     sync.WaitGroup

	mu      sync.Mutex
	mode    Mode
	changed chan struct{} // closed at the next change of mode
	conns   map[net.Conn]bool
}

// New listens on a free loopback port until the test ends.
func New(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	p := &Proxy{target: target, l: l, ctx: ctx, changed: make(chan struct{}), conns: map[net.Conn]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		p.cut()
		p.wg.Wait()
	})
	return p
}

// Addr is where clients connect.
func (p *Proxy) Addr() string { return p.l.Addr().String() }

// Set changes the mode.
func (p *Proxy) Set(m Mode) {
	p.mu.Lock()
	p.mode = m
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
	if m == Refuse {
		p.cut()
	}
}

func (p *Proxy) state() (Mode, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mode, p.changed
}

// cut resets every connection.
func (p *Proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		reset(c)
	}
}

func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

func (p *Proxy) accept() {
	for {
		c, err := p.l.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(c) })
	}
}

func (p *Proxy) keep(c net.Conn, open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if open {
		p.conns[c] = true
	} else {
		delete(p.conns, c)
	}
}

func (p *Proxy) serve(c net.Conn) {
	p.keep(c, true)
	defer p.keep(c, false)
	defer c.Close()
	if !p.pass() {
		reset(c)
		return
	}
	s, err := net.DialTimeout("tcp", p.target, 10*time.Second)
	if err != nil {
		reset(c)
		return
	}
	p.keep(s, true)
	defer p.keep(s, false)
	defer s.Close()
	var both sync.WaitGroup
	both.Go(func() { p.copy(s, c) })
	both.Go(func() { p.copy(c, s) })
	both.Wait()
}

// pass waits as the mode wants it, and reports whether the connection may go on.
func (p *Proxy) pass() bool {
	for {
		mode, changed := p.state()
		switch mode {
		case Pass:
			return true
		case Refuse:
			return false
		case Slow:
			select {
			case <-time.After(slowness):
			case <-p.ctx.Done():
			}
			return p.ctx.Err() == nil
		}
		select {
		case <-changed:
		case <-p.ctx.Done():
			return false
		}
	}
}

// copy moves bytes one way until an end closes.
func (p *Proxy) copy(dst, src net.Conn) {
	buf := make([]byte, little)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if !p.pass() {
				reset(dst)
				return
			}
			if _, err := dst.Write(buf[:n]); err != nil {
				reset(src)
				return
			}
		}
		if errors.Is(err, io.EOF) {
			if tcp, ok := dst.(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
			}
			return
		}
		if err != nil {
			reset(dst)
			return
		}
	}
}
