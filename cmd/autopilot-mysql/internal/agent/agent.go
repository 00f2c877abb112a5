package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/guard"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/hooks"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/engine"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/mysql/gtid"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
	"github.com/autopilot-mysql/autopilot-mysql/snapshot"
)

// Times of the loop.
const (
	// tick is how often a node looks at itself when nothing wakes it, while it has something to do or to wait for.
	tick = 250 * time.Millisecond
	// calmTick is the same while all is well and nothing is to be done. A look wakes this program and mysqld, which costs both
	// some milliseconds of CPU time on a busy machine; what a look finds, first thing, is looked at every tick then.
	calmTick = 500 * time.Millisecond
	// followTick is the same for a node that follows: it has no lease that a mysqld that hangs must let run out, and it is woken when
	// the primary is gone.
	followTick = time.Second
	// handoverTick is the same while this node takes part in a hand-over, in which each waits for what the others notice.
	handoverTick = 25 * time.Millisecond
	// spareTick is the same while all that is left to do in it is to see that somebody has taken the lock.
	spareTick = 50 * time.Millisecond
	// heartbeat is how often an idle source sends a packet to its receivers.
	heartbeat = 500 * time.Millisecond
	// stepTimeout bounds one step that has no narrower limit of its own.
	stepTimeout = 10 * time.Second
	// statusTimeout bounds the look at mysqld. It is shorter than every H, so a hanging server is noticed within it.
	statusTimeout = 600 * time.Millisecond
)

// Deps is what an agent works with. Everything is owned by the caller.
type Deps struct {
	Settings *config.Settings
	Params   election.Params
	Guard    *guard.Client
	Store    election.Store
	Session  election.Session
	Services election.Services
	// Discovery finds what others have registered; nil: nobody is looked for.
	Discovery election.Discovery
	// Snapshots is nil when no store is configured.
	Snapshots snapshot.Store
	// SnapshotKeys encrypt and decrypt what goes there; nil: nothing is encrypted.
	SnapshotKeys *snapshot.Keys
	// SnapshotRate bounds the traffic with the store; nil does not.
	SnapshotRate *snapshot.Limiter
	// MySQLVersion is that of the server binary; "" when it is not known.
	MySQLVersion string
	// HTTPAddr is where this node's HTTP server is reached; it is already listening.
	HTTPAddr string
	Log      *slog.Logger
	// OnTransition is told about every change of state, on the loop's goroutine: it must not wait. Nil is allowed.
	OnTransition func(engine.Transition[roles.State, roles.Event])
	// OnPromotion is told about every opening that ended an election or a planned hand-over, as OnTransition. Nil is allowed.
	OnPromotion func(Promotion)
	// OnSnapshot is told how long every attempt to take a snapshot took, and its outcome. Nil is allowed.
	OnSnapshot func(took time.Duration, err error)
}

// Agent runs one node. Everything in it belongs to the goroutine of Run, except what says otherwise.
type Agent struct {
	Deps
	keys    cluster.Keys
	creds   mysql.Credentials
	mycfg   mysql.Config
	disk    *disk
	machine *engine.Machine[roles.State, roles.Event, roles.Facts, roles.Actor]
	keeper  *keeper
	watch   *watch
	record  *record
	catalog *catalog
	others  neighbours
	history *historian
	desk    requestDesk
	live    liveSettings
	wakeup  chan struct{}

	hooks    *hooks.Runner // nil: there are none
	attic    *attic
	errant   gtid.Set // transactions here that the primary lacks, found while following
	checker  errantChecker
	accounts accounts
	notes    notes
	steady   steadiness
	drains   draining

	rotation *rotation
	keyless  bool // the data knows only a former password: it is renewed before the next start

	volume *volume
	prober prober

	srv       *mysql.Server // nil while mysqld does not run
	killed    int           // pid of a mysqld that got SIGKILL and has not ended; 0: none
	marker    atomic.Pointer[mysql.Server]
	connected bool          // the kept connections of srv are open and START's duties done
	failing   time.Duration // since when a running mysqld has not answered; 0: it does
	down      time.Duration // since when mysqld has been seen not running; 0: it runs
	lastPos   roles.MySQL   // what mysqld said last, kept over its death

	follow      roles.Follow
	checked     checkedHistory
	promoted    uint64
	founded     bool
	named       bool          // this node has had a session: the name is its own
	takenAt     time.Duration // since when another one has been seen under its name; 0: none
	leftOpen    uint64        // the term a previous agent left open, until it is settled
	leading     roles.Sync
	checkpoints []roles.Checkpoint
	silent      map[roles.Inc]time.Duration // since when
	waiting     waitingState
	noDrain     uint64
	markerAt    time.Duration
	openTerm    uint64
	admits      uint64        // the term that is being opened, once its ackers are let in
	rest        time.Duration // until the next look, as the last one found nothing to do; 0: it did
	held        bool          // a failover of this node is held back, and that has been logged
	status      mysql.Status

	confirms []roles.Confirmation

	handing    *handing       // the hand-over this primary works on
	throttle   time.Duration  // the delay that may be on its commits because of one; 0: none
	tried      bool           // a hand-over before the graceful stop has been begun
	ready      uint64         // the hand-over this node is prepared to take
	applying   applyingState  // how it gets on with what it has received
	chained    *roles.Chained // the candidate this node receives from
	leftBehind bool           // this node led when it died, and its entry as the primary may still be in the catalog
	expected   expected       // what was confirmed to the winner of an election before it was open
	accepted   *accepted      // the offer this node has taken
	hastened   uint64         // the hand-over whose offer was taken up without another look at mysqld
	turning    *turning       // what the last takeover began at the server; nil: there was none
	seen       *mysql.Status  // what the last step ended with; the next turn takes it

	startedAt  time.Duration // when mysqld was started last
	startPause time.Duration // pause before it may be started again; grows while it keeps dying
	lastExit   guard.Exit
	guardPID   int
	agentPID   int

	milestones milestones
	lastWait   cluster.HistoryEntry // the newest entry about an election that waits
	lastWaitAt time.Duration
	job        *job
	jobTrouble string
	shots      *snapshotter
	archive    *archiver
	stop       atomic.Bool
	why        string
	consulErr  error // why Consul does not answer; nil: it does
	shown      atomic.Pointer[Shown]
	scene      atomic.Pointer[scene] // what every log line tells besides
	stopAt     time.Duration         // when the graceful stop began; 0: none
}

// Shown is what the HTTP side shows: the node's own record and the newest view.
type Shown struct {
	State  roles.State
	Node   roles.Node
	View   roles.View
	Extra  cluster.Extra
	At     time.Time    // of the turn
	Status mysql.Status // as last answered; MySQL says whether it still answers
	MySQL  roles.MySQL
	MaxLag time.Duration // the setting, as in force
}

// checkedHistory remembers whose history this node's position was compared with.
type checkedHistory struct {
	primary roles.Inc
	term    uint64
}

// New prepares an agent. Nothing is started and nothing on disk is changed; a *Refusal ends the process.
func New(d Deps) (*Agent, error) {
	s := d.Settings
	a := &Agent{
		Deps: d, keys: cluster.KeysOf(s.Cluster), wakeup: make(chan struct{}, 1), silent: map[roles.Inc]time.Duration{},
		creds: mysql.Credentials{TLS: tlsFiles(s), Prefix: s.ReplUser, Password: string(s.ReplPassword)},
	}
	a.rotation = newRotation(s)
	d.Log = slog.New(storyteller{d.Log.Handler(), &a.scene})
	a.Log = d.Log
	a.mycfg = mysqlConfig(s, d.Params)
	if err := checkTLS(s); err != nil {
		return nil, err
	}
	if err := a.mycfg.Validate(); err != nil {
		return nil, unusable("mysqld settings", err.Error(), "correct them")
	}
	if err := a.creds.Validate(); err != nil {
		return nil, unusable("replication account", err.Error(), "correct MYSQL_REPL_USER or MYSQL_REPL_PASSWORD")
	}
	var err error
	if s.Adopt && foreignData(s.Datadir) {
		if err := makeRoom(s.Datadir); err != nil {
			return nil, err
		}
	}
	if a.disk, err = openDisk(s.Datadir, s.Cluster, s.Name); err != nil {
		return nil, err
	}
	if err := a.disk.mayOpen(d.MySQLVersion); err != nil {
		return nil, err
	}
	if err := prepareDir(s.Datadir, a.mycfg); err != nil {
		return nil, err
	}
	if a.hooks, err = newHooks(d); err != nil {
		return nil, err
	}
	a.watch = &watch{store: d.Store, keys: a.keys, wake: a.wake, now: election.Boottime}
	a.keeper = &keeper{
		session: d.Session, params: d.Params, key: a.keys.Leader(), guard: d.Guard, now: election.Boottime, wake: a.wake,
		log: d.Log, keep: s.Policy == "keep", probe: a.probe, holder: a.holder, kick: make(chan struct{}, 1),
	}
	a.record = &record{store: d.Store, session: d.Session, keys: a.keys, kick: make(chan struct{}, 1)}
	a.history = &historian{store: d.Store, keys: a.keys, kick: make(chan struct{}, 1)}
	a.guardPID, a.agentPID = os.Getppid(), os.Getpid()
	a.catalog = newCatalog(d.Services, d.Params, s, d.Log)
	a.others.catalog, a.others.set = d.Discovery, s
	a.shots, a.archive = newSnapshotter(a), newArchiver(a)
	a.attic = newAttic(s.Datadir, s.Cluster, d.Snapshots, d.SnapshotKeys, d.Log)
	a.volume = newVolume(s.Datadir, a.wake)
	a.prober = prober{commit: a.probe, refused: mysql.CommitRefused, wake: a.wake}
	a.machine, err = engine.New(roles.Table(), roles.Actor(a), engine.Options[roles.State, roles.Event]{OnTransition: a.entered})
	return a, err
}

// Run runs the node until it is asked to stop or cannot go on. It returns the code for the guard and a reason.
func (a *Agent) Run(ctx context.Context) (code int, reason string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := a.disk.claim(); err != nil {
		if r := (*Refusal)(nil); errors.As(err, &r) {
			return r.Code, r.Error()
		}
		return 1, err.Error()
	}
	a.Session.Own(a.disk.s.DirID)
	if err := a.disk.noteBoot(); err != nil {
		return 1, err.Error()
	}
	a.clearScratch()
	if a.disk.s.HasData && !a.disk.s.Founding {
		a.keepAdopted()
	}
	a.adopt(ctx)
	var all sync.WaitGroup
	for _, f := range []func(context.Context){a.watch.run, a.keeper.run, a.record.run, a.catalog.run, a.others.run, a.shots.run, a.archive.run, a.volume.run, a.attic.run, a.history.run, a.hearHangUp} {
		all.Go(func() { f(ctx) })
	}
	code, reason = a.loop(ctx)
	cancel()
	all.Wait()
	a.hooks.Close(hooksAtStop)
	return code, reason
}

// wake makes the loop turn soon. Safe for concurrent use.
func (a *Agent) wake() {
	select {
	case a.wakeup <- struct{}{}:
	default:
	}
}

func (a *Agent) loop(ctx context.Context) (int, string) {
	t := time.NewTimer(tick)
	defer t.Stop()
	stops := a.Guard.Stop()
	for {
		again, end := a.turn(ctx)
		if end != nil {
			return end.code, end.reason
		}
		if again {
			continue
		}
		t.Reset(a.pace())
		select {
		case <-ctx.Done():
			return 1, "the agent was ended"
		case <-a.Guard.Done():
			return 1, "the guard is gone"
		case sig := <-stops:
			a.Log.Info("asked to stop", "signal", sig.String())
			a.stop.Store(true)
			stops = nil
		case e := <-a.Guard.Exits():
			a.mysqldEnded(e)
		case <-a.wakeup:
		case <-t.C:
		}
	}
}

// pace is how soon to look again when nothing wakes the loop. Without Consul a hand-over does not get on.
func (a *Agent) pace() time.Duration {
	switch {
	case a.consulErr == nil && a.watch.spare.Load():
		return spareTick
	case a.consulErr == nil && (a.handing != nil || a.ready != 0 || a.chained != nil):
		return handoverTick
	case a.rest != 0:
		return a.rest
	case a.watch.apart.Load():
		return calmTick
	}
	return tick
}

// restOf is how long a node in the given state does not look when all is well.
func restOf(state roles.State) time.Duration {
	if state == roles.Primary {
		return calmTick
	}
	return followTick
}

// isCalm tells whether a look found nothing to do, and nothing that may soon be something to do.
func isCalm(state roles.State, f roles.Facts, d roles.Decision) bool {
	m, settled := f.MySQL, false
	switch state {
	case roles.Primary:
		settled = f.Lease.Held
	case roles.Standby, roles.Replica:
		settled = !f.Lease.Held && m.Receiver == roles.On && m.Applier == roles.On && m.Caught
	case roles.Init, roles.RestoreSnapshot, roles.Failover: // on its way
	}
	return d.Event == "" && len(d.Steps) == 0 && f.View.OK && f.LeaderFree == 0 && len(f.View.Requests) == 0 && f.Busy == "" && !f.Stop && f.Disk.Unfit == "" &&
		m.Ready && m.Trouble == "" && m.Stuck == 0 && f.Waiting == 0 && len(f.Silent) == 0 && settled
}

// waitsForLock tells whether a hand-over has come so far that whoever takes over has everything: the primary has offered the
// term, or this node receives from the candidate and has seen the offer. Looking again and again at one's mysqld then takes
// time from the one node that everybody waits for, when they share a machine.
func (a *Agent) waitsForLock(v roles.View) bool {
	if h := a.handing; h != nil {
		return h.Offer != nil
	}
	h := v.Nodes[v.Sync.Primary].Handover
	return a.chained != nil && h != nil && h.Offer != nil
}

// turn observes, decides, and acts once. again is true when something changed that may call for the next thing at once.
func (a *Agent) turn(ctx context.Context) (again bool, end *ending) {
	a.rest = 0
	again, end = a.settle(ctx)
	if end != nil {
		return false, end
	}
	f, end := a.observe(ctx)
	if end != nil {
		return false, end
	}
	wait, end := a.nameTaken(f.View)
	if end != nil {
		return false, end
	}
	if wait != "" && !a.stop.Load() {
		a.why = wait
		a.publish(ctx, f)
		return again, nil
	}
	a.setScene(f)
	a.clearCatalog(f)
	d := roles.Decide(a.machine.State(), f)
	a.why = d.Why
	switch {
	case d.Event != "":
		again = a.fire(ctx, d, f) || again
	default:
		for _, s := range d.Steps {
			again = a.step(ctx, s, f) || again
		}
	}
	a.publish(ctx, f)
	a.serveRequests(ctx, f)
	a.rotate(ctx, f)
	a.rememberWaiting(f, d.Why)
	again = a.watch.listen(a.waitsForLock(f.View), a.machine.State() == roles.Replica && roles.LeavesToAckers(f)) || again
	if state := a.machine.State(); !again && isCalm(state, f, d) {
		a.rest = restOf(state)
	}
	if a.stop.Load() {
		return again, a.stopped(ctx, f)
	}
	return again, nil
}

// fire changes the state. A failed way into primary leaves a server that may be half open, so it is fenced.
func (a *Agent) fire(ctx context.Context, d roles.Decision, f roles.Facts) bool {
	from := a.machine.State()
	fctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	_, err := a.machine.Fire(fctx, d.Event, f, d.Why)
	if err == nil {
		if from == roles.Primary { // demotion waits for nothing: not for a status, not for Consul
			a.fence(ctx, d.Why)
			a.hookDemoted(d.Why)
		}
		return true
	}
	a.Log.Warn("event refused", "state", from, "event", d.Event, "err", err)
	a.why = err.Error()
	var action *engine.ActionError
	if errors.As(err, &action) {
		a.fence(ctx, "could not open: "+err.Error())
	}
	pause(ctx, 50*time.Millisecond)
	return false
}

// entered is told about every transition.
func (a *Agent) entered(t engine.Transition[roles.State, roles.Event]) {
	a.changeScene(t.From, t.To)
	a.Log.Info("state", "from", t.From, "to", t.To, "on", t.On, "why", t.Why, "detail", t.Detail, "took", t.Took.Round(time.Millisecond).String())
	if a.OnTransition != nil {
		a.OnTransition(t)
	}
	a.hookTransition(t)
	a.recall(t)
	if t.From == roles.Primary {
		a.openTerm, a.admits, a.promoted, a.founded, a.checkpoints = 0, 0, 0, false, nil
		a.handing, a.throttle = nil, 0 // whatever the server becomes next takes it off: ReadOnlyOff, DisableEvents
		a.catalog.want(nil)
	}
	if t.To != roles.Replica && t.To != roles.Standby {
		a.ready, a.chained = 0, nil
	}
	if t.To != roles.Primary {
		a.accepted = nil
	}
	if t.To == roles.Failover || t.To == roles.RestoreSnapshot {
		a.follow, a.checked, a.errant = roles.Follow{}, checkedHistory{}, gtid.Set{}
	}
	if a.job != nil {
		a.job.left = true
		a.job.cancel(fmt.Errorf("state %s was left", t.From))
	}
}

type ending struct {
	code   int
	reason string
}

// prepareDir makes sure that the node directory can be written before anything else is tried.
func prepareDir(dir string, c mysql.Config) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return unusable("data directory "+dir, "cannot create it: "+cause(err), "create it, or give another one with --datadir")
	}
	probe, err := os.CreateTemp(dir, ".write-test-*")
	if err != nil {
		return unusable("data directory "+dir, "cannot write to it: "+cause(err), "correct its owner or mount, or give another one with --datadir")
	}
	_ = probe.Close()
	_ = os.Remove(probe.Name())
	if len(c.Socket()) > 100 {
		return unusable("data directory "+dir, fmt.Sprintf("its path makes the socket path %d bytes long, 100 are possible", len(c.Socket())), "give a shorter --datadir")
	}
	return nil
}

// cause is the innermost sentence of a file error: the path is said already.
func cause(err error) string {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}
