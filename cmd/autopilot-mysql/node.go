package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/agent"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/guard"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/httpapi"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/metrics"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/election/consul"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// stuckMargin is added to the longest step of an agent, to tell a busy one from one that is stuck.
const stuckMargin = time.Minute

// agentMemory is what the agent's memory is collected for when it comes near, in bytes. Taking and verifying encrypted snapshots peaked at
// 119 MiB with it, and at 214 MiB without (measured with a small database; what counts are the buffers, not the data).
const agentMemory = 120 << 20

// agentGrowth is by how many percent the agent's live memory may grow before it is collected. An idle node's agent has 10 MiB
// of memory of its own with it and 12 with Go's 100, for the same CPU time (three nodes, 45 s; 30 saved only 0.5 MiB more).
const agentGrowth = 50

// runAgent is the agent process. It ends through the guard, which prints the reason.
func runAgent(ctx context.Context, inv *cli.Invocation, s *config.Settings) error {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(agentMemory)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(agentGrowth)
	}
	g, err := guard.Connect()
	if err != nil {
		return &cli.Error{Code: cli.Usage, What: "start agent", Why: err.Error(), Next: "start nodes with: autopilot-mysql run"}
	}
	code, reason := serveNode(ctx, inv, s, g)
	g.Exit(code, reason)
	return nil
}

func serveNode(ctx context.Context, inv *cli.Invocation, s *config.Settings, g *guard.Client) (code int, reason string) {
	if name := agent.NameOnDisk(s.Datadir); name != "" && !s.NameGiven {
		s.Name = name // a container made anew on the volume of the former one has another host name
	}
	source := &nodeSource{s: s, g: g}
	watched := metrics.New(metrics.Build{Node: s.Name, Cluster: s.Cluster, Version: cli.BuildVersion(version)}, source.Sample)
	a, l, err := assemble(ctx, inv, s, g, watched)
	if err != nil {
		return exitCode(err), err.Error()
	}
	source.a = a
	srv := &http.Server{
		Handler:           httpapi.New(source, httpapi.Options{Metrics: watched.Handler(), Stuck: s.DrainTimeout + stuckMargin}),
		ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	go func() {
		if err := srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			inv.Log.Error("serve http", "err", err)
		}
	}()
	defer srv.Close()
	return a.Run(ctx)
}

// assemble checks what a node needs, in the order in which an operator would, and puts it together.
func assemble(ctx context.Context, inv *cli.Invocation, s *config.Settings, g *guard.Client, m *metrics.Metrics) (*agent.Agent, net.Listener, error) {
	path, version, err := mysql.FindMysqld(ctx, s.Mysqld)
	switch {
	case errors.Is(err, mysql.ErrTooOld):
		return nil, nil, &cli.Error{Code: cli.Refused, What: "start node", Node: s.Name, Why: err.Error(), Next: "use MySQL 8.4 or newer; nothing was changed"}
	case err != nil:
		return nil, nil, &cli.Error{Code: cli.Usage, What: "start node", Node: s.Name, Why: err.Error(), Next: "install MySQL or name the binary with --mysqld"}
	}
	s.Mysqld = path
	if w := mysql.VersionWarning(version); w != "" {
		inv.Log.Warn(w) //nolint:sloglint // a sentence for an operator, complete
	}
	if err := adoptLease(ctx, inv, s); err != nil {
		return nil, nil, err
	}
	params, err := election.ParamsFor(s.Lease)
	if err != nil {
		return nil, nil, &cli.Error{Code: cli.Usage, What: "start node", Node: s.Name, Why: err.Error(), Next: "correct --lease"}
	}
	client, err := consulClient(&s.Common, params.R)
	if err != nil {
		return nil, nil, err
	}
	snapshots, err := vaultOf(&s.Common, false)
	if err != nil {
		return nil, nil, err
	}
	if err := portFree(s); err != nil {
		return nil, nil, err
	}
	l, err := net.Listen("tcp", s.HTTP)
	if err != nil {
		return nil, nil, &cli.Error{Code: cli.Usage, What: "start node", Node: s.Name, Why: "cannot listen on --http " + s.HTTP + ": " + innermost(err), Next: "give a free address with --http"}
	}
	a, err := agent.New(agent.Deps{
		MySQLVersion: version,
		Settings:     s, Params: params, Guard: g, Store: m.Store(client.Store()),
		Session:  m.Session(client.Session(s.Name, params, cluster.KeysOf(s.Cluster).Prefix)),
		Services: client.Services(), Discovery: client.Services(), Snapshots: snapshots.store, SnapshotKeys: snapshots.keys, SnapshotRate: snapshots.rate, HTTPAddr: httpAddr(s, l),
		OnTransition: m.Transition, OnSnapshot: m.Snapshot,
		OnPromotion: func(p agent.Promotion) { m.Promotion(p.Planned, p.Phases, p.Gap) },
		Log:         inv.Log.With("node", s.Name, "cluster", s.Cluster),
	})
	if err != nil {
		l.Close()
		return nil, nil, err
	}
	return a, l, nil
}

// adoptLease takes over the lease that the cluster's nodes agree on. A Consul that does not answer is no reason not to
// start: the agent compares again when it does.
func adoptLease(ctx context.Context, inv *cli.Invocation, s *config.Settings) error {
	client, err := consulClient(&s.Common, statusTimeout)
	if err != nil {
		return err
	}
	defer client.Close()
	rctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	keys := cluster.KeysOf(s.Cluster)
	v, err := client.Store().Read(rctx, keys.Settings(), false)
	if err != nil {
		return nil // the agent says that Consul does not answer, and goes on asking
	}
	_, extra, err := keys.Parse(v)
	if err != nil {
		return nil // the same
	}
	lease, err := time.ParseDuration(extra.Settings["lease"])
	if err != nil || lease == s.Lease {
		return nil // none is set, or one that nobody can use
	}
	inv.Log.Warn("taking over the cluster's lease", "lease", lease.String(), "instead_of", s.Lease.String())
	s.Lease = lease
	return nil
}

// portFree looks whether mysqld could listen, unless one of ours is running already.
func portFree(s *config.Settings) error {
	if _, err := os.Stat(s.Datadir + "/run/mysql.sock"); err == nil {
		return nil // a server of this node may be running, or left its socket: it will say so itself
	}
	host := s.Bind
	if host == "*" {
		host = ""
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, fmt.Sprint(s.Port)))
	if err != nil {
		return &cli.Error{Code: cli.Usage, What: "start node", Node: s.Name, Why: fmt.Sprintf("cannot listen on port %d for mysqld: %s", s.Port, innermost(err)), Next: "free the port, or give another one with --port"}
	}
	return l.Close()
}

// consulClient makes the client from the settings; timeout bounds one request.
func consulClient(c *config.Common, timeout time.Duration) (*consul.Client, error) {
	client, err := consul.New(consul.Config{
		Addrs: c.Consul, Token: string(c.ConsulToken), TokenFile: c.ConsulTokenFile, TLS: c.ConsulTLS, CAFile: c.ConsulCA, CertFile: c.ConsulCert,
		KeyFile: c.ConsulKey, ServerName: c.ConsulServerName, InsecureSkipVerify: c.ConsulInsecure, RequestTimeout: timeout,
	})
	if err != nil {
		return nil, &cli.Error{Code: cli.Usage, What: "set up Consul access", Why: err.Error(), Next: "correct the Consul settings; see: autopilot-mysql config check"}
	}
	return client, nil
}

// snapshotStore opens the store without talking to it; nil without one.
func snapshotStore(c *config.Common, mustExist bool) (snapshot.Store, error) {
	if c.Store == "" {
		return nil, nil
	}
	store, err := snapshot.OpenStore(c.Store, snapshot.StoreOptions{MustExist: mustExist, CA: c.StoreCA, AccessKey: string(c.S3AccessKey), SecretKey: string(c.S3SecretKey), SessionToken: string(c.S3Token),
		Manta: snapshot.MantaOptions{Endpoint: c.MantaURL, User: c.MantaUser, Subuser: c.MantaSubuser, Role: c.MantaRole, KeyID: c.MantaKeyID,
			Key: string(c.MantaKey), Insecure: c.MantaInsecure}})
	if err != nil {
		return nil, &cli.Error{Code: cli.Usage, What: "open snapshot store", Why: err.Error(), Next: "correct --store, or --store-ca if that is named"}
	}
	return store, nil
}

// httpAddr is where others reach the HTTP server, once it is known which port it got.
func httpAddr(s *config.Settings, l net.Listener) string {
	host, port, err := net.SplitHostPort(s.HTTPAdvertise)
	if err != nil || port != "0" {
		return s.HTTPAdvertise
	}
	if _, got, err := net.SplitHostPort(l.Addr().String()); err == nil {
		return net.JoinHostPort(host, got)
	}
	return s.HTTPAdvertise
}

func exitCode(err error) int {
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	return cli.Failed
}

func innermost(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err.Error()
	}
	return err.Error()
}
