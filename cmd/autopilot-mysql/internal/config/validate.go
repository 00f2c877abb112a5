package config

import (
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

const (
	minLease = time.Second      // protocol: allowed from 1 s
	maxLease = 60 * time.Second // a longer one is a mistaken unit
	maxAcks  = 32
	// maxHookWait is the longest delay a hook may add to a failover.
	maxHookWait = 5 * time.Second
	// maxReplUser leaves room for "_" and 8 digits in MySQL's 32 characters.
	maxReplUser = 23
	// maxReplPassword is what CHANGE REPLICATION SOURCE TO accepts.
	maxReplPassword = 32
	// maxDatadir keeps D/run/guard.sock below the 108 bytes of a unix socket's path.
	maxDatadir = 90
)

var (
	nameForm    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	serviceForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,53}[A-Za-z0-9])?$`)
	accountForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)
)

func (r *resolver) checkCommon(c *Common) {
	const form = "use letters, digits, '.', '_' and '-', at most 63, starting with a letter or digit"
	r.require(nameForm.MatchString(c.Cluster), form, "%s is not a usable name", "cluster")
	r.require(serviceForm.MatchString(c.Service), "use letters, digits and '-', at most 55", "%s is not a usable service name", "service")
	r.checkStore(c)
	r.checkStoreAccess(c)
	if (c.ConsulCert == "") != (c.ConsulKey == "") {
		one, other := "consul-cert", "consul-key"
		if c.ConsulCert == "" {
			one, other = other, one
		}
		r.problems.add("give both or none", "%s needs --%s as well", r.cite(one), other)
	}
	if (c.S3AccessKey == "") != (c.S3SecretKey == "") && !(r.failed("s3-access-key") && r.failed("s3-secret-key")) {
		one, other := "s3-access-key", "AWS_SECRET_ACCESS_KEY"
		if c.S3AccessKey == "" {
			one, other = "s3-secret-key", "AWS_ACCESS_KEY_ID"
		}
		r.problems.add("give both or none", "%s needs %s as well", r.cite(one), other)
	}
}

// checkStore looks at the form only; credentials have their own settings, so that a URL can be printed.
func (r *resolver) checkStore(c *Common) {
	if c.Store == "" {
		return
	}
	u, err := url.Parse(c.Store)
	switch {
	case err != nil || u.Scheme == "":
		r.problems.add("write file:///dir or s3://bucket/prefix?endpoint=…", "the snapshot store (%s) is not a URL", r.byName["store"].source)
	case u.User != nil:
		r.problems.add("use AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", "the snapshot store (%s) has credentials in its URL", r.byName["store"].source)
	case !slices.Contains([]string{"file", "s3", "manta"}, u.Scheme):
		r.problems.add("write file:///dir or s3://bucket/prefix?endpoint=…", "%s has an unknown scheme", r.cite("store"))
	case u.Scheme == "file" && (u.Host != "" || !strings.HasPrefix(u.Path, "/")):
		r.problems.add("write three slashes, file:///dir", "%s is not an absolute directory", r.cite("store"))
	case u.Scheme == "s3" && u.Host == "":
		r.problems.add("write s3://bucket/prefix", "%s names no bucket", r.cite("store"))
	}
}

// require adds a problem about one setting unless ok.
func (r *resolver) require(ok bool, next, why, name string) {
	if !ok && r.byName[name] != nil {
		r.problems.add(next, why, r.cite(name))
	}
}

func (r *resolver) checkNode(s *Settings) {
	r.checkIdentity(s)
	r.checkPlaces(s)
	r.checkFailover(s)
	r.checkSchedule(s)
	r.checkAccounts(s)
	r.checkExtra(s)
}

func (r *resolver) checkIdentity(s *Settings) {
	const form = "use letters, digits, '.', '_' and '-', at most 63, starting with a letter or digit"
	r.require(nameForm.MatchString(s.Name), form, "%s is not a usable name", "name")
	r.require(len(s.Datadir) <= maxDatadir, "use a shorter path, sockets below it have a limit of 108 bytes", "%s is too long", "datadir")
	r.require(filepath.Clean(s.Datadir) != "/", "name a directory of its own", "%s is the root of the file system", "datadir")
}

func (r *resolver) checkPlaces(s *Settings) {
	r.require(s.Port >= 1 && s.Port <= 65535, "use 1 to 65535", "%s is not a port", "port")
	r.require(s.AdvertisePort >= 1 && s.AdvertisePort <= 65535, "use 0 to 65535", "%s is not a port", "advertise-port")
	r.require(validHostPort(s.HTTP, 0), "write host:port or :port", "%s is not an address to listen on", "http")
	r.require(usableHost(s.Advertise), "write an IP address or a host name, without a port (that is --advertise-port)", "%s is no address others can use", "advertise")
	r.require(s.Bind != "" && !strings.ContainsAny(s.Bind, " /"), "write an IP address, or * for all", "%s is not an address to listen on", "bind")
	r.require(s.HTTPAdvertise == auto || validHostPort(s.HTTPAdvertise, 0), "write host:port", "%s is not host:port", "http-advertise")
	r.require(s.BufferPool >= 5*MiB && s.BufferPool <= 64*TiB, "use 5M to 64T; plain digits in INNODB_BUFFER_POOL_SIZE are megabytes", "%s is out of range", "buffer-pool")
	r.require(s.Hooks == "" || filepath.IsAbs(s.Hooks), "give the whole path", "%s is not an absolute path", "hooks")
	r.require(s.HookTimeout > 0 && s.HookTimeout <= time.Hour, "use a duration like 30s, at most 1h", "%s is out of range", "hook-timeout")
	r.require(s.HookWait >= 0 && s.HookWait <= maxHookWait, "use 0s to 5s", "%s is out of range", "hook-wait")
	r.require(s.SyncRelayLog >= 0, "use 1 or more (0 leaves it to the system)", "%s is negative", "sync-relay-log")
}

// usableHost is an address or a name alone. The empty one has its own problem already.
func usableHost(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return !ip.IsUnspecified()
	}
	return !strings.ContainsAny(host, ":/*@ ")
}

func (r *resolver) checkFailover(s *Settings) {
	r.require(s.Lease >= minLease && s.Lease <= maxLease, "use 1s to 60s", "%s is out of range", "lease")
	r.require(s.Acks >= 1 && s.Acks <= maxAcks, "use 1 to 32 (a primary without any standby goes on by itself, see --alone)", "%s is out of range", "acks")
	if s.Acks > s.MaxAckers {
		r.problems.add("lower one or raise the other", "%s is more than %s", r.cite("acks"), r.cite("max-ackers"))
	}
	if s.NoFailover && r.byName["priority"].changed && s.Priority != 0 {
		r.problems.add("drop one of the two", "%s and %s contradict each other", r.cite("nofailover"), r.cite("priority"))
	}
	for _, name := range []string{"max-lag", "drain-timeout", "stop-timeout"} {
		r.require(r.byName[name].value.Int() > 0, "use a duration like 10s", "%s is not positive", name)
	}
	r.require(s.Cooldown >= 0, "use a duration like 10s, or 0 for none", "%s is negative", "cooldown")
	r.require(s.FailoversPerHour >= 0, "use 1 or more, or 0 for any number", "%s is negative", "failovers-per-hour")
	r.require(s.ArchiveInterval == 0 || s.ArchiveInterval >= time.Second, "use 1s or more, or 0 for no archive", "%s is too short", "archive-interval")
}

func (r *resolver) checkAccounts(s *Settings) {
	if s.ReplPassword == "" && !r.failed("repl-password") {
		r.problems.lacks("set MYSQL_REPL_PASSWORD or MYSQL_REPL_PASSWORD_FILE, the same on every node", "the cluster's own accounts have no password")
	}
	r.require(len(s.ReplPassword) <= maxReplPassword, "use at most 32 bytes, a limit of MySQL's replication", "%s is too long", "repl-password")
	r.require(len(s.ReplUser) <= maxReplUser && accountForm.MatchString(s.ReplUser), "use at most 23 letters, digits, '.', '_' and '-'", "%s is not usable as an account prefix", "repl-user")
	if s.User != "" && (s.User == s.ReplUser || strings.HasPrefix(s.User, s.ReplUser+"_")) {
		r.problems.add("rename one", "%s and %s contradict each other (the application's account would be the cluster's own)", r.cite("mysql-user"), r.cite("repl-user"))
	}
	r.checkTLS(s)
	r.require(s.User != "root" && len(s.User) <= 32, "name an account of at most 32 characters other than root", "%s is not usable for the application", "mysql-user")
	r.require(len(s.Database) <= 64 && !strings.ContainsFunc(s.Database, func(c rune) bool { return unicode.IsControl(c) || c == '`' }), "use at most 64 characters", "%s is not usable as a database name", "mysql-database")
	switch {
	case s.User != "" && s.Password == "" && !r.failed("mysql-password"):
		r.problems.add("set MYSQL_PASSWORD or MYSQL_PASSWORD_FILE", "%s has no password", r.cite("mysql-user"))
	case s.User == "" && s.Password != "":
		r.problems.add("set MYSQL_USER, or drop the password", "%s is the password of nobody", r.cite("mysql-password"))
	}
	switch {
	case s.RootPassword != "" && s.RandomRoot:
		r.problems.add("keep one of the two", "%s and %s contradict each other", r.cite("mysql-root-password"), r.cite("mysql-random-root-password"))
	case s.RootPassword == "" && !s.RandomRoot && !r.failed("mysql-root-password"):
		r.problems.add("set MYSQL_ROOT_PASSWORD or MYSQL_ROOT_PASSWORD_FILE", "%s leaves root without a password", r.cite("mysql-random-root-password"))
	}
}

// checkTLS looks at what was given; the files are read when the node starts.
func (r *resolver) checkTLS(s *Settings) {
	if (s.MySQLCert == "") != (s.MySQLKey == "") {
		one, other := "mysql-cert", "mysql-key"
		if s.MySQLCert == "" {
			one, other = other, one
		}
		r.problems.add("give both or none", "%s needs --%s as well", r.cite(one), other)
	}
	if s.MySQLCA != "" && s.MySQLCert == "" && s.MySQLKey == "" {
		r.problems.add("give --mysql-cert and --mysql-key", "%s makes the other nodes verify a certificate, and this node has none", r.cite("mysql-ca"))
	}
	if r.byName["mysql-tls-verify"].changed && s.MySQLCA == "" {
		r.problems.add("give --mysql-ca", "%s verifies nothing without a CA", r.cite("mysql-tls-verify"))
	}
	for _, name := range []string{"mysql-ca", "mysql-cert", "mysql-key"} {
		path := r.byName[name].value.String()
		r.require(path == "" || filepath.IsAbs(path), "give the whole path", "%s is not an absolute path", name)
	}
}

// failed tells that a value was given and refused already, so that its absence is not a second problem.
func (r *resolver) failed(name string) bool {
	f := r.byName[name]
	return f != nil && f.changed
}
