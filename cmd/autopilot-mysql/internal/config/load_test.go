package config

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// here keeps a test from depending on the machine's interfaces.
var here = []string{"--bind", "127.0.0.1"}

// mustLoad loads settings that are expected to be good; the replication password is there.
func mustLoad(t *testing.T, args []string, environ ...string) (*Settings, *Report) {
	t.Helper()
	s, report, err := Load(append(append([]string{}, here...), args...), append([]string{"MYSQL_REPL_PASSWORD=repl"}, environ...))
	require.NoError(t, err)
	return s, report
}

func sourceOf(t *testing.T, report *Report, name string) string {
	t.Helper()
	for _, v := range report.Values {
		if v.Name == name {
			return v.Source
		}
	}
	require.Fail(t, "not reported", name)
	return ""
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func TestDefaults(t *testing.T) {
	s, report := mustLoad(t, nil)
	host, err := os.Hostname()
	require.NoError(t, err)
	require.Positive(t, s.BufferPool)
	s.BufferPool, s.RunAs = 0, ""
	require.Equal(t, &Settings{
		Common: Common{
			Logging: Logging{LogLevel: "info", LogFormat: "auto"},
			Consul:  []string{"127.0.0.1:8500"}, Cluster: "main", Service: "mysql",
			MantaURL: "https://us-east.manta.joyent.com",
		},
		Name: host, Datadir: "/var/lib/mysql", Mysqld: "mysqld", Port: 3306, Bind: "127.0.0.1", Advertise: "127.0.0.1",
		AdvertisePort: 3306, HTTP: "127.0.0.1:3308", HTTPAdvertise: "127.0.0.1:3308", SyncRelayLog: 10000,
		Lease: 3 * time.Second, Acks: 1, MaxAckers: 2, maxAckersAuto: true, Policy: "keep", Alone: "go-on", MaxLag: 10 * time.Second,
		Cooldown: 10 * time.Second, FailoversPerHour: 60, Errant: "rebuild",
		DrainTimeout: time.Minute, StopTimeout: time.Minute, SnapshotInterval: 24 * time.Hour, ArchiveInterval: 10 * time.Second, SnapshotRetention: SnapshotRetention{SnapshotKeep: 7},
		RandomRoot: true, ReplUser: "repl", ReplPassword: "repl", InitDir: "/docker-entrypoint-initdb.d",
		HookTimeout: 30 * time.Second, HookWait: time.Second, MySQLTLSVerify: "identity",
	}, s)
	require.Empty(t, report.Warnings)
	require.Equal(t, "default", sourceOf(t, report, "lease"))
}

func TestLayersOverrideAndRememberTheirSource(t *testing.T) {
	file := writeFile(t, "node.json", `{"lease": "4s", "acks": 2, "max-lag": "1m", "nofailover": true, "consul": ["a:1", "b:2"]}`)
	s, report := mustLoad(t, []string{"--lease", "6s", "--config", file}, "AUTOPILOT_LEASE=5s", "AUTOPILOT_ACKS=3")
	require.Equal(t, 6*time.Second, s.Lease)
	require.Equal(t, "flag --lease", sourceOf(t, report, "lease"))
	require.Equal(t, 3, s.Acks)
	require.Equal(t, 6, s.MaxAckers)
	require.Equal(t, "environment AUTOPILOT_ACKS", sourceOf(t, report, "acks"))
	require.Equal(t, time.Minute, s.MaxLag)
	require.Equal(t, "file "+file, sourceOf(t, report, "max-lag"))
	require.True(t, s.NoFailover)
	require.Equal(t, []string{"a:1", "b:2"}, s.Consul)

	s, report = mustLoad(t, nil, "AUTOPILOT_CONFIG="+file)
	require.Equal(t, 4*time.Second, s.Lease)
	require.Equal(t, "environment AUTOPILOT_CONFIG", sourceOf(t, report, "config"))
}

func TestFlagsMayContradictTheEnvironment(t *testing.T) {
	s, _ := mustLoad(t, []string{"--consul", "c:1,d:2"}, "CONSUL=consul")
	require.Equal(t, []string{"c:1", "d:2"}, s.Consul)
}

func TestValuesAreLiteral(t *testing.T) {
	const odd = ` a#b$HOME${x}"'%s=\n,é `
	s, _ := mustLoad(t, nil, "MYSQL_USER=app", "MYSQL_PASSWORD="+odd, "MYSQL_ROOT_PASSWORD="+odd, "MYSQL_DATABASE=a#b$c=d")
	require.Equal(t, Secret(odd), s.Password)
	require.Equal(t, Secret(odd), s.RootPassword)
	require.Equal(t, "a#b$c=d", s.Database)
	require.False(t, s.RandomRoot)

	s, _ = mustLoad(t, []string{"--config", writeFile(t, "c.json", `{"mysql-user":"app","mysql-password":"x#y$z"}`)})
	require.Equal(t, Secret("x#y$z"), s.Password)
	s, _ = mustLoad(t, []string{"--mysql-database=a#b$HOME"})
	require.Equal(t, "a#b$HOME", s.Database)
}

func TestSecretsFromFiles(t *testing.T) {
	path := writeFile(t, "secret", "pa#ss$word\n")
	s, report, err := Load(here, []string{"MYSQL_REPL_PASSWORD_FILE=" + path})
	require.NoError(t, err)
	require.Equal(t, Secret("pa#ss$word"), s.ReplPassword)
	require.Equal(t, path, s.ReplPasswordFile)
	require.Equal(t, "environment MYSQL_REPL_PASSWORD_FILE", sourceOf(t, report, "repl-password"))

	s, report, err = Load(append([]string{"--repl-password-file", path}, here...), []string{"MYSQL_REPL_PASSWORD=other"})
	require.NoError(t, err)
	require.Equal(t, Secret("pa#ss$word"), s.ReplPassword)
	require.Equal(t, "flag --repl-password-file", sourceOf(t, report, "repl-password"))

	spaced, _ := mustLoad(t, []string{"--consul-token-file", writeFile(t, "spaced", " token \n\n")})
	require.Equal(t, Secret(" token \n"), spaced.ConsulToken, "only the last line end goes")

	crlf := writeFile(t, "crlf", "two\nlines\r\n")
	s, _ = mustLoad(t, []string{"--config", writeFile(t, "c.json", fmt.Sprintf(`{"consul-token-file": %q}`, crlf))})
	require.Equal(t, Secret("two\nlines"), s.ConsulToken)
}

func TestEverySecretHasAFileVariant(t *testing.T) {
	for _, f := range fieldsOf(&Settings{}) {
		if !f.secret {
			continue
		}
		require.True(t, f.path.IsValid(), f.name)
		for _, name := range f.envs {
			path := writeFile(t, "secret", "from-file")
			r := &resolver{env: map[string]string{name + "_FILE": path}, report: &Report{}}
			fresh := fieldsOf(&Settings{})
			for _, g := range fresh {
				if g.name == f.name {
					r.resolve(g)
					require.Equal(t, "from-file", g.value.String(), name)
				}
			}
			require.Empty(t, r.problems)
		}
	}
}

func TestPredecessorVariables(t *testing.T) {
	s, report := mustLoad(t, nil,
		"CONSUL=consul", "SERVICE_NAME=shop", "LOG_LEVEL=WARNING", "MYSQL_DATADIR=/data", "INNODB_BUFFER_POOL_SIZE=64",
		"BACKUP_TTL=7200", "MYSQL_ONETIME_PASSWORD=yes", "MYSQL_REPL_USER=r", "MYSQL_RANDOM_ROOT_PASSWORD=on",
		"SNAPSHOT_BACKEND=minio", "MINIO_ACCESS_KEY=id", "MINIO_SECRET_KEY=key", "MINIO_BUCKET=b", "MINIO_TLS_SECURE=1")
	require.Equal(t, []string{"consul:8500"}, s.Consul)
	require.Equal(t, "environment CONSUL", sourceOf(t, report, "consul"))
	require.Equal(t, "shop", s.Service)
	require.Equal(t, "shop", s.Cluster, "clusters used to differ by their service's name only")
	require.Equal(t, "warn", s.LogLevel)
	require.Equal(t, "/data", s.Datadir)
	require.Equal(t, 64*MiB, s.BufferPool)
	require.Equal(t, 2*time.Hour, s.SnapshotInterval)
	require.True(t, s.OneTime)
	require.True(t, s.RandomRoot)
	require.Equal(t, "r", s.ReplUser)
	require.Equal(t, "s3://b?endpoint=https%3A%2F%2Fminio%3A9000&path-style=true&region=us-east-1", s.Store)
	require.Equal(t, Secret("id"), s.S3AccessKey)
	require.Equal(t, Secret("key"), s.S3SecretKey)

	for environ, want := range map[[2]string]string{
		{"SNAPSHOT_BACKEND=local"}:                                          "file:///tmp/snapshots",
		{"STORAGE_DIR=/snap"}:                                               "file:///snap",
		{"SNAPSHOT_BACKEND=local", "STORAGE_DIR=/my snaps"}:                 "file:///my%20snaps",
		{"SNAPSHOT_BACKEND=manta", "MANTA_USER=me"}:                         "manta:///me/stor",
		{"MANTA_BUCKET=/me/stor/db", "MANTA_USER=me"}:                       "manta:///me/stor/db",
		{"MINIO_URL=http://store:1", "MINIO_LOCATION=eu"}:                   "s3://backups?endpoint=http%3A%2F%2Fstore%3A1&path-style=true&region=eu",
		{"AUTOPILOT_STORE=s3://own/x", "MINIO_URL=elsewhere"}:               "s3://own/x",
		{"AUTOPILOT_STORE=file:///tmp/snapshots", "SNAPSHOT_BACKEND=local"}: "file:///tmp/snapshots",
	} {
		s, _ := mustLoad(t, nil, append(environ[:], "MANTA_PRIVATE_KEY=key")...)
		require.Equal(t, want, s.Store, "%v", environ)
	}
}

func TestVariablesWithoutMeaningWarnOnce(t *testing.T) {
	_, report := mustLoad(t, nil, "SESSION_TTL=25", "CONTAINERPILOT=/etc/containerpilot.json5", "PRIMARY_KEY=")
	require.Equal(t, []string{
		"CONTAINERPILOT is ignored: there is no ContainerPilot any more, this program does its work",
		"SESSION_TTL is ignored: AUTOPILOT_LEASE decides how long a silent primary keeps its role",
	}, report.Warnings)
}

func TestConsulAddresses(t *testing.T) {
	cert, key := "CONSUL_CLIENT_CERT=/c.pem", "CONSUL_CLIENT_KEY=/k.pem"
	for _, c := range []struct {
		environ []string
		want    []string
	}{
		{[]string{"CONSUL_HTTP_ADDR=a:1, b , http://c:3"}, []string{"a:1", "b:8500", "c:3"}},
		{[]string{"CONSUL_HTTP_ADDR=https://a:8501/"}, []string{"https://a:8501"}},
		{[]string{"CONSUL_HTTP_ADDR=[::1]:8500"}, []string{"[::1]:8500"}},
		{[]string{"CONSUL_HTTP_ADDR=::1"}, []string{"[::1]:8500"}},
		{[]string{"CONSUL=consul", "CONSUL_HTTP_ADDR=consul:8500"}, []string{"consul:8500"}},
		{[]string{"CONSUL=consul", cert, key}, []string{"https://consul:8500"}},
		{[]string{"CONSUL_HTTP_ADDR=a:1", "CONSUL_CACERT=/ca.pem"}, []string{"https://a:1"}},
		{[]string{"CONSUL_HTTP_ADDR=a:1", "CONSUL_HTTP_SSL=true"}, []string{"https://a:1"}},
		{[]string{"CONSUL_HTTP_ADDR=a:1", "CONSUL_HTTP_SSL_VERIFY=true"}, []string{"a:1"}},
		{[]string{"CONSUL_HTTP_ADDR=https://a:1", "CONSUL_HTTP_SSL_VERIFY=0"}, []string{"https://a:1"}},
	} {
		s, _ := mustLoad(t, nil, c.environ...)
		require.Equal(t, c.want, s.Consul, "%v", c.environ)
	}
}

func TestCommonOnlyIgnoresNodeSettings(t *testing.T) {
	// An operator's `docker exec … status` runs in the environment of a node.
	c := &Common{}
	_, err := Resolve(c, nil, []string{"AUTOPILOT_LEASE=0s", "MYSQL_USER=app", "AUTOPILOT_CLUSTER=shop", "AUTOPILOT_OUTPUT=json"})
	require.NoError(t, err)
	require.Equal(t, "shop", c.Cluster)
	_, err = Resolve(&Common{}, nil, []string{"AUTOPILOT_CLUTSER=shop"})
	require.ErrorContains(t, err, "AUTOPILOT_CLUSTER")
}

func TestForeignVariablesAreLeftAlone(t *testing.T) {
	mustLoad(t, nil, "AUTOPILOT_GUARD_FD=3", "AUTOPILOT_PLAYGROUND_SUPERVISE=1", "AUTOPILOT_TEST_MYSQLD=/x", "AUTOPILOT_MYSQL_SERVICE_HOST=10.0.0.1",
		"AUTOPILOT_PORT=tcp://10.0.0.1:3306", "AUTOPILOT_PORT_3306_TCP_ADDR=10.0.0.1", "AUTOPILOT_POLICY=", "PATH=/bin")
}

func TestExtraArguments(t *testing.T) {
	s, _ := mustLoad(t, []string{"--", "--max-connections=5", "--skip-name-resolve", "-v"})
	require.Equal(t, []string{"--max-connections=5", "--skip-name-resolve", "-v"}, s.Extra)
}

func TestErrorNamesTheFirstAndCountsTheOthers(t *testing.T) {
	_, _, err := Load(append([]string{"--acks", "0"}, here...), nil)
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Len(t, e.Problems, 2)
	require.Equal(t, e.Problems[0].String()+" (and 1 more: autopilot-mysql config check lists all)", err.Error())
	require.NotContains(t, err.Error(), "\n")
}

func writeInto(t *testing.T, dir, name, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
}
