// Package consul implements the words of package election with HashiCorp Consul: a session bound to a TTL check, keys and
// transactions, the service catalog. It is the only place that imports the Consul client.
//
// Tested with Consul 1.8 and written with nothing that later versions changed. With ACLs on, the token needs
// key_prefix:write and session_prefix:write for its keys and sessions, service:write for [SessionService] and for the two
// services of applications, and node_prefix:read.
//
// The check of a session is the check of a service entry of its own. A check of the Consul node itself would, once critical,
// make all services of that node critical, those of other database servers included. It belongs to one agent; when its node
// has died for good, Consul removes it after reapAfter; a graceful Session.Close removes it at once.
package consul

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/autopilot-mysql/autopilot-mysql/election"
)

// DefaultRequestTimeout bounds a request whose caller has no earlier deadline.
const DefaultRequestTimeout = 2 * time.Second

// Config says where Consul is and how to speak to it. Nothing is read from the environment, except that the Enterprise
// variables CONSUL_NAMESPACE and CONSUL_PARTITION are honoured by the library underneath.
type Config struct {
	// Addrs are agents or servers in order of preference: host, host:port, or an http:// or https:// URL. Without a scheme,
	// https is used if TLS, CAFile or CertFile is set; without a port 8500, with https 8501.
	Addrs []string
	// Token is the ACL token. TokenFile wins over it and is read again for every request, so that a token can be rotated.
	Token, TokenFile string
	// TLS asks for https where an address has no scheme.
	TLS bool
	// CAFile verifies the servers instead of the system's roots. CertFile and KeyFile are the client's own certificate.
	CAFile, CertFile, KeyFile string
	// ServerName is expected in the server's certificate instead of the host of the address.
	ServerName string
	// InsecureSkipVerify turns verification off. For experiments only.
	InsecureSkipVerify bool
	// RequestTimeout bounds every single request, 0 means DefaultRequestTimeout.
	RequestTimeout time.Duration
}

// Client speaks to one of several Consul agents: to the current one, and after a failure to the next. Checks and services
// stay with the agent they were registered at. Safe for concurrent use.
type Client struct {
	timeout time.Duration
	agents  []*agent
	current atomic.Int32
}

// agent is one address with its own connections.
type agent struct {
	index     int32
	addr      string // as a URL, without credentials
	api       *api.Client
	transport *http.Transport
	record    record
}

// New checks the configuration and makes a client. It does not touch the network.
func New(cfg Config) (*Client, error) {
	if len(cfg.Addrs) == 0 {
		return nil, errors.New("no Consul address given")
	}
	c := &Client{timeout: cfg.RequestTimeout}
	if c.timeout <= 0 {
		c.timeout = DefaultRequestTimeout
	}
	tlsConfig, err := tlsConfig(cfg)
	if err != nil {
		return nil, err
	}
	token, err := newTokenSource(cfg)
	if err != nil {
		return nil, err
	}
	for i, addr := range cfg.Addrs {
		u, err := parseAddr(addr, cfg.TLS || cfg.CAFile != "" || cfg.CertFile != "")
		if err != nil {
			return nil, err
		}
		a, err := newAgent(u, tlsConfig, token, c.timeout)
		if err != nil {
			return nil, err
		}
		a.index = int32(i)
		c.agents = append(c.agents, a)
	}
	return c, nil
}

// Close ends idle connections. Requests under way are not interrupted: their contexts are for that.
func (c *Client) Close() {
	for _, a := range c.agents {
		a.transport.CloseIdleConnections()
	}
}

// Addr is the address of the current agent.
func (c *Client) Addr() string { return c.at().addr }

func (c *Client) at() *agent { return c.agents[c.current.Load()] }

// Ping asks for the leader of Consul, at each address in turn until one answers well. Its error is meant for an operator.
func (c *Client) Ping(ctx context.Context) error {
	return c.do(ctx, request{op: "ask for its leader"}, func(ctx context.Context, a *agent) error {
		q := (&api.QueryOptions{}).WithContext(ctx)
		leader, err := a.api.Status().LeaderWithQueryOptions(q)
		if err == nil && leader == "" {
			return errNoLeader
		}
		return err
	})
}

// request describes a call to the agents for the sake of its errors and retries.
type request struct {
	op      string // "read mysql/main/", completes "cannot ..."
	effect  effect
	timeout time.Duration // 0: the client's
}

// effect is what a request without an answer may have done.
type effect int

const (
	none       effect = iota // it only reads: try the next agent
	idempotent               // it may have happened, and doing it again is harmless: try the next agent
	once                     // it may have happened, and must not be repeated
)

// do runs f against the current agent. If the request surely did not leave, or may be repeated, the next agent is tried
// within the same deadline, at most as many times as there are agents. Which agent is next, moveOn says.
func (c *Client) do(ctx context.Context, r request, f func(context.Context, *agent) error) error {
	ctx, cancel := context.WithTimeout(ctx, r.limit(c))
	defer cancel()
	var err error
	for range c.agents {
		a := c.at()
		var again bool
		if again, err = c.once(ctx, r, a, f); err == nil {
			return nil
		}
		if !again || ctx.Err() != nil {
			break
		}
	}
	return err
}

// doAt runs f against one particular agent.
func (c *Client) doAt(ctx context.Context, a *agent, r request, f func(context.Context, *agent) error) error {
	ctx, cancel := context.WithTimeout(ctx, r.limit(c))
	defer cancel()
	_, err := c.once(ctx, r, a, f)
	return err
}

func (r request) limit(c *Client) time.Duration {
	if r.timeout > 0 {
		return r.timeout
	}
	return c.timeout
}

// once makes one attempt and says whether another agent may be asked the same.
func (c *Client) once(ctx context.Context, r request, a *agent, f func(context.Context, *agent) error) (again bool, err error) {
	var seen exchange
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { seen.sent.Store(true) },
	})
	err = f(context.WithValue(traced, exchangeKey{}, &seen), a)
	if err == nil {
		a.record.note(election.Boottime(), nil)
		return false, nil
	}
	err = explain(r, a.addr, &seen, err)
	moved := movesOn(err)
	if moved && !cancelled(ctx) {
		a.record.note(election.Boottime(), err)
		c.moveOn(a, err)
	}
	return moved && (r.effect != once || !seen.sent.Load()), err
}

// cancelled tells the caller's own wish to stop from a deadline that an agent did not meet.
func cancelled(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }

// exchange is what is known about one HTTP exchange beside its error.
type exchange struct {
	sent   atomic.Bool  // a connection was there, so the request may have left
	status atomic.Int32 // of the answer, 0 if there was none
}

type exchangeKey struct{}

// queryOptions and writeOptions carry ctx into the library.
func queryOptions(ctx context.Context, consistent bool) *api.QueryOptions {
	return (&api.QueryOptions{RequireConsistent: consistent}).WithContext(ctx)
}

func writeOptions(ctx context.Context) *api.WriteOptions {
	return (&api.WriteOptions{}).WithContext(ctx)
}

// String names the agents, for messages.
func (c *Client) String() string {
	return fmt.Sprintf("consul at %s (%d addresses)", c.Addr(), len(c.agents))
}
