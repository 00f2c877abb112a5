package agent

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/election"
	"github.com/autopilot-mysql/autopilot-mysql/mysql"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

const (
	// rotateEvery is how often the files with passwords and certificates are looked at without a SIGHUP.
	rotateEvery = 2 * time.Second
	// rotateTimeout bounds what the loop itself does about a changed password.
	rotateTimeout = 2 * time.Second
	// rotateCommit bounds a logged change of accounts, which waits for its acknowledgement beside the loop.
	rotateCommit = 10 * time.Second
)

// rotation changes passwords while everything runs. The files say what is wanted.
//
// The cluster's own password: as soon as the primary's file holds another one, its accounts accept both, and with the logged
// part of that every server's do. Whoever's file says the same takes it into use when its own server accepts it, one
// follower after the other, so that no two receivers are restarted at a time. When all members say the same the former one
// is dropped. A node whose file is late goes on with the former one.
//
// Application and root: the primary changes the account if the former content of the file was its password. One that
// somebody changed by other means is left alone.
//
// Everything but what beside runs belongs to the loop.
type rotation struct {
	at      time.Duration
	asked   atomic.Bool // by SIGHUP
	working atomic.Bool // something beside runs
	settled bool        // one password alone is accepted, as far as is known
	channel bool        // the receiver is known to log in with the present password
	prints  map[string]string
	users   []*userPassword
	said    map[string]string // what was logged last, by subject
	certs   certificates
}

// userPassword is an account that a file gives its password.
type userPassword struct {
	what, user, file string
	hosts            []string
	retain           bool   // clients move over at their leisure
	now, former      string // former: what now is to replace; "" for nothing to do
}

func newRotation(s *config.Settings) *rotation {
	r := &rotation{prints: map[string]string{}, said: map[string]string{}}
	if s.PasswordFile != "" && s.User != "" {
		r.users = append(r.users, &userPassword{what: "application's password", user: s.User, hosts: []string{"%"}, file: s.PasswordFile, retain: true, now: string(s.Password)})
	}
	if s.RootPasswordFile != "" {
		r.users = append(r.users, &userPassword{what: "root's password", user: "root", hosts: []string{"%", "localhost"}, file: s.RootPasswordFile, now: string(s.RootPassword)})
	}
	return r
}

// hearHangUp makes SIGHUP look at all files at once.
func (a *Agent) hearHangUp(ctx context.Context) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			a.rotation.asked.Store(true)
			a.wake()
		}
	}
}

// rotate looks at the files and does the next thing about what has changed.
func (a *Agent) rotate(ctx context.Context, f roles.Facts) {
	r, now := a.rotation, election.Boottime()
	if a.accepted != nil && !a.leadingNow() { // between a takeover and its opening nobody touches what that has put in order
		return
	}
	if asked := r.asked.Swap(false); !asked && now-r.at < rotateEvery || a.job != nil || a.stop.Load() {
		return
	}
	r.at = now
	wanted := a.wantedPassword()
	if a.srv == nil && !a.disk.s.HasData { // nothing here knows any password yet
		a.creds.Password, a.creds.Former = wanted, ""
	}
	if a.srv == nil || !a.connected || !f.MySQL.Ready || a.leftOpen != 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, rotateTimeout)
	defer cancel()
	if err := a.rotateOwn(ctx, f, wanted); err != nil {
		a.tellRotation("cluster's password", "it is tried again: "+err.Error())
	}
	for _, u := range r.users {
		if err := a.rotateUser(ctx, f, u); err != nil {
			a.tellRotation(u.what, "it is tried again: "+err.Error())
		}
	}
	r.certs.look(ctx, a)
}

// wantedPassword is the cluster's password as the file says; what cannot be read or used changes nothing.
func (a *Agent) wantedPassword() string {
	s := a.Settings
	if s.ReplPasswordFile == "" {
		return string(s.ReplPassword)
	}
	text, err := config.ReadSecret(s.ReplPasswordFile)
	if err == nil {
		next := a.creds
		next.Password = text
		err = next.Validate()
	}
	if err != nil {
		a.tellRotation("cluster's password", s.ReplPasswordFile+" cannot be used: "+err.Error())
		return a.creds.Password
	}
	return text
}

// tellRotation logs a sentence about a subject once.
func (a *Agent) tellRotation(subject, sentence string) {
	if a.rotation.said[subject] == sentence {
		return
	}
	a.rotation.said[subject] = sentence
	a.Log.Info("rotation", "of", subject, "now", sentence)
}

func (a *Agent) rotateOwn(ctx context.Context, f roles.Facts, wanted string) error {
	if wanted != a.creds.Password {
		ok, err := mysql.LogsIn(ctx, a.mycfg, a.creds.Admin(), wanted)
		switch {
		case err != nil:
			return err
		case ok:
			return a.takePassword(ctx, wanted)
		case !a.leadingNow():
			a.tellRotation("cluster's password", "waiting for the primary to accept the new one")
			return nil
		}
		a.tellRotation("cluster's password", "accepting the new one beside the present one")
		srv := a.srv
		a.beside(f, "begin rotation", func(ctx context.Context) error { return srv.BeginRotation(ctx, wanted) })
		return nil
	}
	if !a.leadingNow() {
		if err := a.renewChannel(ctx, f); err != nil {
			return err
		}
	}
	return a.settleRotation(ctx, f)
}

// takePassword takes a password into use that this server accepts.
func (a *Agent) takePassword(ctx context.Context, wanted string) error {
	next := a.creds
	next.Password, next.Former = wanted, a.creds.Password
	a.srv.SetCredentials(next)
	if !a.leadingNow() {
		if err := a.srv.RekeyFollower(ctx, next.Former); err != nil {
			a.srv.SetCredentials(a.creds)
			return err
		}
	}
	a.creds, a.rotation.settled, a.rotation.channel = next, false, false
	a.tellRotation("cluster's password", "the new one is in use here")
	return nil
}

// renewChannel restarts the receiver with the present password, when those before it in order have done so.
func (a *Agent) renewChannel(ctx context.Context, f roles.Facts) error {
	h, led := f.View.ValidPrimary()
	if a.rotation.channel || !led || a.follow.Primary != h.Inc || a.follow.Term != f.View.Sync.Term || f.MySQL.Receiver != roles.On || a.chained != nil {
		return nil
	}
	is, err := a.srv.ChannelPassword(ctx)
	if err != nil {
		return err
	}
	if is != a.creds.Password {
		for _, i := range f.View.Sync.Ackers() {
			if n := f.View.Nodes[i]; i < f.Self.Inc && n.Alive() && n.Login != a.fingerprint(a.creds.Password) {
				return nil // its turn comes first: acknowledgements go on meanwhile
			}
		}
		if err := mysql.TryLogin(ctx, h.MySQL, a.creds.Node(a.Settings.Name), a.creds.Password, a.creds.TLS); err != nil {
			a.tellRotation("cluster's password", "waiting for "+h.Name+" to accept the new one")
			return nil //nolint:nilerr // the stream with the former one goes on
		}
		if err := a.repoint(ctx, f, h, a.follow); err != nil {
			return fmt.Errorf("log in at %s with the new password: %w", h.Name, err)
		}
	}
	a.rotation.channel = true
	return nil
}

// settleRotation drops the former password once nobody needs it.
func (a *Agent) settleRotation(ctx context.Context, f roles.Facts) error {
	r := a.rotation
	if r.settled {
		return nil
	}
	two, err := a.srv.Rotating(ctx)
	switch {
	case err != nil:
		return err
	case !two:
		if a.creds.Former != "" {
			a.creds.Former = ""
			a.srv.SetCredentials(a.creds)
			if !a.leadingNow() {
				if err := a.srv.RekeyFollower(ctx, ""); err != nil {
					return err
				}
			}
			a.tellRotation("cluster's password", "done: the former one is accepted no more")
		}
		r.settled = true
		return nil
	case !a.leadingNow():
		return nil // it hears of the end by replication
	}
	if late := a.lateNodes(f); late != "" {
		a.tellRotation("cluster's password", "the former one is still accepted: "+late+" has not taken the new one into use, or is not running")
		return nil
	}
	srv := a.srv
	a.beside(f, "end rotation", srv.EndRotation)
	return nil
}

// lateNodes names a node that may still need the former password; "" for none.
func (a *Agent) lateNodes(f roles.Facts) string {
	mine := a.fingerprint(a.creds.Password)
	for _, i := range f.View.Incs() {
		if n := f.View.Nodes[i]; n.Alive() && i != f.Self.Inc && n.Login != mine {
			return n.Name
		}
	}
	for _, i := range f.View.Sync.Ackers() {
		if n := f.View.Nodes[i]; !n.Alive() {
			return i.Name()
		}
	}
	return ""
}

// login is what this node publishes about the password it uses: "" while its receiver still uses another one.
func (a *Agent) login() string {
	if a.srv != nil && !a.leadingNow() && !a.rotation.channel && a.follow.Primary != "" {
		return ""
	}
	return a.fingerprint(a.creds.Password)
}

// fingerprint tells equal passwords from different ones and nothing more: whoever reads it learns 16 bits.
func (a *Agent) fingerprint(password string) string {
	r := a.rotation
	if r == nil {
		return ""
	}
	if p, ok := r.prints[password]; ok {
		return p
	}
	key, err := pbkdf2.Key(sha256.New, password, []byte(a.Settings.Cluster), 10_000, 2)
	if err != nil { // only for parameters no release of Go allows
		return ""
	}
	clear(r.prints)
	r.prints[password] = hex.EncodeToString(key)
	return r.prints[password]
}

// beside runs one logged change of accounts beside the loop, unless one is under way or commits wait already: until it is
// acknowledged nobody else can log in (MySQL holds the lock of its accounts).
func (a *Agent) beside(f roles.Facts, what string, do func(context.Context) error) {
	streaming := 0
	for _, i := range f.View.Sync.Ackers() {
		if roles.Streaming(f, i) {
			streaming++
		}
	}
	if f.MySQL.K > streaming || f.MySQL.WaitSessions > 0 && f.Waiting > tick || !a.rotation.working.CompareAndSwap(false, true) {
		return
	}
	a.rotation.settled = false
	log := a.Log
	go func() {
		defer a.rotation.working.Store(false)
		ctx, cancel := context.WithTimeout(context.Background(), rotateCommit)
		defer cancel()
		if err := do(ctx); err != nil {
			log.Warn("rotation: it is looked at again", "step", what, "err", err)
		}
	}()
}

func (a *Agent) rotateUser(ctx context.Context, f roles.Facts, u *userPassword) error {
	text, err := config.ReadSecret(u.file)
	if err != nil {
		a.tellRotation(u.what, u.file+" cannot be used: "+err.Error())
		return nil //nolint:nilerr // it was told
	}
	if text != u.now {
		if u.former == "" {
			u.former = u.now
		}
		u.now = text
	}
	if u.former == "" {
		return nil
	}
	if ok, err := mysql.LogsIn(ctx, a.mycfg, u.user, u.now); err != nil || ok {
		if ok {
			u.former = ""
			a.tellRotation(u.what, "the new one is accepted")
		}
		return err
	}
	if !a.leadingNow() {
		return nil // the primary does it; should it fail before, whoever follows it does
	}
	ok, err := mysql.LogsIn(ctx, a.mycfg, u.user, u.former)
	switch {
	case err != nil:
		return err
	case !ok:
		u.former = ""
		a.tellRotation(u.what, "left alone: the account's password is not what the file said before, so somebody set it by other means")
		return nil
	}
	srv, next := a.srv, *u
	a.beside(f, "change "+u.what, func(ctx context.Context) error {
		return srv.SetUserPassword(ctx, next.user, next.hosts, next.now, next.retain)
	})
	return nil
}
