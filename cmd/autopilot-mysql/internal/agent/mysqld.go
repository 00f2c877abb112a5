package agent

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/guard"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
)

const (
	// readyTimeout bounds opening the kept connections of a server that answers.
	readyTimeout = 2 * time.Second
	// killTimeout bounds SIGKILL until reaped; 70–80 ms were measured, a server full of dirty pages takes longer.
	killTimeout = 30 * time.Second
	// reapTimeout is how long a fence waits for the end of what it killed; then it goes on without it.
	reapTimeout = 3 * time.Second
)

// mysqlConfig renders the settings for mysqld.
func mysqlConfig(s *config.Settings, p election.Params) mysql.Config {
	bind := s.Bind
	if bind == "*" {
		bind = ""
	}
	return mysql.Config{
		Dir: s.Datadir, Mysqld: s.Mysqld, Host: bind, Port: s.Port, ReportHost: s.Advertise, ReportPort: s.AdvertisePort,
		ServerID: 1, BufferPoolBytes: int64(s.BufferPool), ReplNetTimeout: p.C + 2*time.Second,
		SyncRelayLog: s.SyncRelayLog, TLS: tlsFiles(s), Extra: s.Extra, User: s.RunAs, Small: s.Small,
	}
}

// configure writes the option file for the data as it is now. server_id follows the server UUID, so no two nodes share one.
// Any UUID will do, 0 is never given.
func (a *Agent) configure() (mysql.Config, error) {
	cfg := a.mycfg // a copy: jobs configure beside the loop
	id, err := mysql.ServerUUID(cfg)
	if err != nil {
		return cfg, fmt.Errorf("configure mysqld: %w", err)
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	cfg.ServerID = max(h.Sum32(), 1)
	return cfg, mysql.WriteConfig(cfg)
}

// startMysqld starts the server closed: read-only, offline, no replication thread running.
func (a *Agent) startMysqld(ctx context.Context) error {
	if a.job != nil {
		return fmt.Errorf("start mysqld: %s: %w", a.job.sentence(), errNotNow)
	}
	now := election.Boottime()
	if now-a.startedAt < a.startPause {
		return fmt.Errorf("start mysqld: it ended, or could not be started, a moment ago: %w", errNotNow)
	}
	a.startPause = min(max(2*a.startPause, 100*time.Millisecond), 5*time.Second)
	a.startedAt = now
	cfg, err := a.configure()
	if err != nil {
		return fmt.Errorf("start mysqld: %w", err)
	}
	if _, running := a.Guard.Mysqld(); !running {
		if err := mysql.ClearStale(cfg); err != nil {
			return fmt.Errorf("start mysqld: %w", err)
		}
	}
	if a.keyless {
		a.renewKeys(cfg)
		return nil
	}
	pid, err := a.Guard.Start(ctx, a.command(cfg))
	if errors.Is(err, guard.ErrRunning) { // the answer to an earlier start got lost; what the guard starts is closed
		a.open()
		return nil
	}
	if err != nil {
		return fmt.Errorf("start mysqld: %w", err)
	}
	a.open()
	a.Log.Info("mysqld started", "pid", pid)
	return nil
}

// renewKeys makes the data's accounts know the present password.
func (a *Agent) renewKeys(cfg mysql.Config) {
	creds := a.creds
	a.begin("renewing the passwords in the data", func(ctx context.Context, _ func(string)) (func(context.Context) error, error) {
		ctx, cancel := context.WithTimeout(ctx, bootTimeout)
		defer cancel()
		if err := mysql.Rekey(ctx, cfg, creds); err != nil {
			return nil, err
		}
		return func(context.Context) error {
			a.keyless = false
			return nil
		}, nil
	})
}

func (a *Agent) command(cfg mysql.Config) guard.Command {
	return guard.Command{Path: cfg.Mysqld, Args: cfg.Args(), Dir: cfg.Dir, User: a.Settings.RunAs}
}

// open prepares the connections to a server that is running or starting.
func (a *Agent) open() {
	a.shut()
	a.srv = mysql.Open(a.mycfg, a.creds)
	a.marker.Store(a.srv)
	a.failing = 0
}

// shut forgets the connections to a server that is gone.
func (a *Agent) shut() {
	if a.srv != nil {
		go a.srv.Close()
	}
	a.marker.Store(nil)
	a.srv, a.connected = nil, false
}

// attach does START's duties on a server that has just become reachable.
func (a *Agent) attach(ctx context.Context) error {
	rctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := a.srv.Ready(rctx); err != nil {
		if mysql.Denied(err) && a.disk.s.HasData && !a.leadingNow() && a.job == nil {
			a.Log.Warn("mysqld does not accept this node's password: its data is from before a rotation; the accounts in it are renewed", "err", err)
			a.keyless = true
			return errors.Join(err, a.killMysqld(ctx))
		}
		return err
	}
	if err := a.srv.KillOtherAdmins(rctx); err != nil {
		return err
	}
	st, err := a.srv.Status(rctx)
	if err != nil {
		return err
	}
	if a.disk.s.Fresh {
		if err := a.freshen(rctx, st); err != nil {
			return err
		}
	}
	if !st.Position().Contains(a.lastPos.Position()) && !a.disk.s.Void {
		a.Log.Warn("mysqld came back with less than it had; its earlier acknowledgements no longer hold")
		if err := a.disk.save(func(s *diskState) { s.Void = true }); err != nil {
			return err
		}
	}
	if st.Version != "" && st.Version != a.disk.s.MySQL {
		if err := a.disk.save(func(s *diskState) { s.MySQL = st.Version }); err != nil {
			return err
		}
	}
	a.connected, a.startPause = true, 0
	return nil
}

// freshen removes what a copy brought along of its origin's replication.
func (a *Agent) freshen(ctx context.Context, st mysql.Status) error {
	if st.Replica != nil {
		// A look at a server may be given up soon. This may not: ended in the middle it leaves mysqld unable to follow (trap 27).
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTimeout)
		defer cancel()
		if err := a.srv.ResetReplica(ctx); err != nil {
			return fmt.Errorf("forget the copied replication channel: %w", err)
		}
	}
	return a.disk.save(func(s *diskState) { s.Fresh = false })
}

// mysqldEnded notes the end of a server.
func (a *Agent) mysqldEnded(e guard.Exit) {
	if pid, running := a.Guard.Mysqld(); !running || pid == e.Pid {
		a.shut()
		a.killed = 0
	}
	a.lastExit = e
	a.Log.Warn("mysqld ended", "exit", e.String())
}

// kill ends mysqld with SIGKILL and waits until it is reaped, but not for ever: a process that waits for a disk that does
// not answer ends when the disk does. From the moment it has got the signal it executes nothing any more.
func (a *Agent) kill(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reapTimeout)
	defer cancel()
	pid, _ := a.Guard.Mysqld()
	err := a.killMysqld(ctx)
	if err == nil {
		return
	}
	a.Log.Error("kill mysqld", "err", err)
	if now, running := a.Guard.Mysqld(); !running || now != pid {
		return
	}
	if err := a.Guard.Feed(0, nil); err == nil { // the guard answers in order: it has sent the signal
		a.shut()
		a.killed = pid
	}
}

func (a *Agent) killMysqld(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, killTimeout)
	defer cancel()
	if err := a.Guard.Kill(ctx); err != nil && !errors.Is(err, guard.ErrNotRunning) {
		return fmt.Errorf("kill mysqld: %w", err)
	}
	a.shut()
	return nil
}
