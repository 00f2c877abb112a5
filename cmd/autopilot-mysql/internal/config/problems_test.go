package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestProblems asserts every error line. %D stands for a directory with the files of the test.
func TestProblems(t *testing.T) {
	const name = "use letters, digits, '.', '_' and '-', at most 63, starting with a letter or digit"
	const consulForm = "write host:port, http://host:port or https://host:port"
	const storeForm = "write file:///dir or s3://bucket/prefix?endpoint=…"
	for _, c := range []struct {
		args, environ string // separated by spaces
		want          []string
	}{
		// values that cannot be read
		{"", "AUTOPILOT_LEASE=abc", []string{"AUTOPILOT_LEASE=abc is not a duration: write it like 500ms, 3s or 24h; correct the value"}},
		{"", "AUTOPILOT_ACKS=two", []string{"AUTOPILOT_ACKS=two is not a whole number; correct the value"}},
		{"", "MYSQL_ONETIME_PASSWORD=perhaps", []string{"MYSQL_ONETIME_PASSWORD=perhaps is neither true nor false; correct the value"}},
		{"", "CONSUL_HTTP_SSL_VERIFY=perhaps", []string{"CONSUL_HTTP_SSL_VERIFY=perhaps is neither true nor false; correct the value"}},
		{"", "AUTOPILOT_POLICY=lax", []string{"AUTOPILOT_POLICY=lax is not one of keep, strict; correct the value"}},
		{"", "LOG_LEVEL=loud", []string{"LOG_LEVEL=loud is not one of debug, info, warn, error; correct the value"}},
		{"", "AUTOPILOT_BUFFER_POOL=much", []string{"AUTOPILOT_BUFFER_POOL=much is not a size: write auto, or a number with K, M, G or T; correct the value"}},
		{"", "MINIO_URL=m:1 MINIO_TLS_SECURE=perhaps", []string{"MINIO_TLS_SECURE=perhaps is neither true nor false; correct the value"}},
		{"--lease abc", "", []string{`--lease: expected duration but got "abc": time: invalid duration "abc"; see autopilot-mysql run --help`}},
		{"word", "", []string{`unexpected argument word; see autopilot-mysql run --help`}},

		// unknown names
		{"", "AUTOPILOT_LEASES=3s", []string{"unknown variable AUTOPILOT_LEASES (did you mean AUTOPILOT_LEASE?); correct the name or unset it"}},
		{"", "AUTOPILOT_STOER=x", []string{"unknown variable AUTOPILOT_STOER (did you mean AUTOPILOT_STORE?); correct the name or unset it"}},
		{"", "AUTOPILOT_REPL_PASSWORD_FILES=x", []string{"unknown variable AUTOPILOT_REPL_PASSWORD_FILES (did you mean AUTOPILOT_REPL_PASSWORD_FILE?); correct the name or unset it"}},
		{"--config %D/unknown.json", "", []string{`unknown key "leaze" in %D/unknown.json (did you mean "lease"?); correct the key or remove it`}},

		// the file
		{"--config %D/none.json", "", []string{"settings file %D/none.json: no such file or directory; correct the file or the path"}},
		{"--config %D/twice.json", "", []string{`settings file %D/twice.json: key "lease" is there twice; correct the file or the path`}},
		{"--config %D/list.json", "", []string{"settings file %D/list.json: not a JSON object; correct the file or the path"}},
		{"--config %D/nested.json", "", []string{`settings file %D/nested.json: value of "lease": not a string, number, boolean or list; correct the file or the path`}},
		{"--config %D/more.json", "", []string{"settings file %D/more.json: something follows the JSON object; correct the file or the path"}},
		{"--config %D/bad.json", "", []string{"soon in %D/bad.json is not a duration: write it like 500ms, 3s or 24h; correct the value"}},
		{"--config %D/both.json", "", []string{"*** in %D/both.json and %D/secret in %D/both.json contradict each other (both set consul-token); keep one of the two"}},

		// two values for one setting
		{"", "CONSUL=a CONSUL_HTTP_ADDR=b:8500", []string{"CONSUL_HTTP_ADDR=b:8500 and CONSUL=a contradict each other (both set consul); keep one of the two"}},
		{"", "AUTOPILOT_SNAPSHOT_INTERVAL=1h BACKUP_TTL=7200", []string{"AUTOPILOT_SNAPSHOT_INTERVAL=1h and BACKUP_TTL=7200 contradict each other (both set snapshot-interval); keep one of the two"}},
		{"", "AUTOPILOT_STORE=file:///a SNAPSHOT_BACKEND=minio", []string{"AUTOPILOT_STORE=file:///a and SNAPSHOT_BACKEND=minio contradict each other (both set store); keep one of the two"}},
		{"", "STORAGE_DIR=/a MINIO_URL=m:1", []string{"MINIO_URL and STORAGE_DIR contradict each other (both name a snapshot store); say which one in SNAPSHOT_BACKEND"}},
		{"", "SNAPSHOT_BACKEND=tape", []string{"SNAPSHOT_BACKEND=tape is not one of minio, local, manta; set AUTOPILOT_STORE instead"}},
		{"", "CONSUL_HTTP_TOKEN=a CONSUL_HTTP_TOKEN_FILE=%D/secret", []string{"CONSUL_HTTP_TOKEN=*** and CONSUL_HTTP_TOKEN_FILE=%D/secret contradict each other (both set consul-token); keep one of the two"}},
		{"", "AWS_ACCESS_KEY_ID=a MINIO_ACCESS_KEY=b AWS_SECRET_ACCESS_KEY=c AUTOPILOT_STORE=s3://b", []string{"AWS_ACCESS_KEY_ID=*** and MINIO_ACCESS_KEY=*** contradict each other (both set s3-access-key); keep one of the two"}},

		// mysqld's certificates, hooks
		{"--mysql-cert /c.pem", "", []string{"--mysql-cert /c.pem (flag --mysql-cert) needs --mysql-key as well; give both or none"}},
		{"--mysql-ca /ca.pem", "", []string{"--mysql-ca /ca.pem (flag --mysql-ca) makes the other nodes verify a certificate, and this node has none; give --mysql-cert and --mysql-key"}},
		{"--mysql-tls-verify ca", "", []string{"--mysql-tls-verify ca (flag --mysql-tls-verify) verifies nothing without a CA; give --mysql-ca"}},
		{"--mysql-cert c.pem --mysql-key /k.pem", "", []string{"--mysql-cert c.pem (flag --mysql-cert) is not an absolute path; give the whole path"}},
		{"-- --ssl-cert=/c.pem", "", []string{"mysqld argument --ssl-cert contradicts --mysql-cert  (default); use the setting, not the argument"}},
		{"--hooks hooks", "", []string{"--hooks hooks (flag --hooks) is not an absolute path; give the whole path"}},
		{"--hook-timeout 0s --hook-wait 6s", "", []string{"--hook-timeout 0s (flag --hook-timeout) is out of range; use a duration like 30s, at most 1h",
			"--hook-wait 6s (flag --hook-wait) is out of range; use 0s to 5s"}},

		// secrets
		{"", "CONSUL_HTTP_TOKEN_FILE=%D/none", []string{"CONSUL_HTTP_TOKEN_FILE=%D/none: no such file or directory; mount the file or correct the path"}},
		{"--consul-token-file %D", "", []string{"--consul-token-file=%D: not a file of at most 64 KiB; mount the file or correct the path"}},
		{"", "CONSUL_HTTP_TOKEN_FILE=%D/empty", []string{"CONSUL_HTTP_TOKEN_FILE=%D/empty: the file is empty; mount the file or correct the path"}},
		{"", "MYSQL_REPL_PASSWORD=", []string{"the cluster's own accounts have no password; set MYSQL_REPL_PASSWORD or MYSQL_REPL_PASSWORD_FILE, the same on every node"}},
		{"", "MYSQL_REPL_PASSWORD=" + strings.Repeat("x", 33), []string{"repl-password (environment MYSQL_REPL_PASSWORD) is too long; use at most 32 bytes, a limit of MySQL's replication"}},

		// settings that contradict each other
		{"--acks 3 --max-ackers 2", "", []string{"--acks 3 (flag --acks) is more than --max-ackers 2 (flag --max-ackers); lower one or raise the other"}},
		{"--priority 5", "AUTOPILOT_NOFAILOVER=1", []string{"--nofailover=true (environment AUTOPILOT_NOFAILOVER) and --priority 5 (flag --priority) contradict each other; drop one of the two"}},
		{"--consul http://a:1", "CONSUL_CACERT=/ca", []string{"--consul http://a:1 (flag --consul) and --consul-ca /ca (environment CONSUL_CACERT) contradict each other; write https:// or drop the TLS setting"}},
		{"", "MYSQL_ROOT_PASSWORD=a MYSQL_RANDOM_ROOT_PASSWORD=1", []string{"mysql-root-password (environment MYSQL_ROOT_PASSWORD) and --mysql-random-root-password=true (environment MYSQL_RANDOM_ROOT_PASSWORD) contradict each other; keep one of the two"}},
		{"--no-mysql-random-root-password", "", []string{"--mysql-random-root-password=false (flag --mysql-random-root-password) leaves root without a password; set MYSQL_ROOT_PASSWORD or MYSQL_ROOT_PASSWORD_FILE"}},
		{"--mysql-user repl_app", "MYSQL_PASSWORD=x", []string{"--mysql-user repl_app (flag --mysql-user) and --repl-user repl (default) contradict each other (the application's account would be the cluster's own); rename one"}},
		{"", "CONSUL_CLIENT_KEY=/k", []string{"--consul-key /k (environment CONSUL_CLIENT_KEY) needs --consul-cert as well; give both or none"}},
		{"", "AWS_ACCESS_KEY_ID=a", []string{"s3-access-key (environment AWS_ACCESS_KEY_ID) needs AWS_SECRET_ACCESS_KEY as well; give both or none"}},
		{"", "MYSQL_USER=app", []string{"--mysql-user app (environment MYSQL_USER) has no password; set MYSQL_PASSWORD or MYSQL_PASSWORD_FILE"}},
		{"", "MYSQL_PASSWORD=x", []string{"mysql-password (environment MYSQL_PASSWORD) is the password of nobody; set MYSQL_USER, or drop the password"}},
		{"-- --port=1", "AUTOPILOT_PORT=3307", []string{"mysqld argument --port contradicts --port 3307 (environment AUTOPILOT_PORT); use the setting, not the argument"}},
		{"-- --skip_grant_tables", "", []string{"mysqld argument --skip_grant_tables belongs to the cluster's safety and cannot be set; leave it out"}},
		{"-- --loose-rpl_semi_sync_source_timeout=1", "", []string{"mysqld argument --loose-rpl_semi_sync_source_timeout belongs to the cluster's safety and cannot be set; leave it out"}},
		{"-- word", "", []string{`mysqld argument "word" is not an option; write --option=value in one word`}},

		// values out of range
		{"--lease 999ms", "", []string{"--lease 999ms (flag --lease) is out of range; use 1s to 60s"}},
		{"--acks 0", "", []string{"--acks 0 (flag --acks) is out of range; use 1 to 32 (a primary without any standby goes on by itself, see --alone)"}},
		{"--name a/b", "", []string{"--name a/b (flag --name) is not a usable name; " + name}},
		{"--cluster=", "", []string{"--cluster  (flag --cluster) is not a usable name; " + name}},
		{"--service a.b", "", []string{"--service a.b (flag --service) is not a usable service name; use letters, digits and '-', at most 55"}},
		{"--port 0", "", []string{"--port 0 (flag --port) is not a port; use 1 to 65535", "--advertise-port 0 (default) is not a port; use 0 to 65535"}},
		{"--advertise db:3306", "", []string{
			"--advertise db:3306 (flag --advertise) is no address others can use; write an IP address or a host name, without a port (that is --advertise-port)",
		}},
		{"--http 3308", "", []string{"--http 3308 (flag --http) is not an address to listen on; write host:port or :port"}},
		{"--buffer-pool 1K", "", []string{"--buffer-pool 1K (flag --buffer-pool) is out of range; use 5M to 64T; plain digits in INNODB_BUFFER_POOL_SIZE are megabytes"}},
		{"--max-lag 0s", "", []string{"--max-lag 0s (flag --max-lag) is not positive; use a duration like 10s"}},
		{"--snapshot-interval 5s", "", []string{"--snapshot-interval 5s (flag --snapshot-interval) is too short; use 1m or more, or 0 for none by the clock"}},
		{"--snapshot-verify 5s", "", []string{"--snapshot-verify 5s (flag --snapshot-verify) is too short; use 1m or more, or 0 for none by the clock"}},
		{"--snapshot-keep-daily=-1", "", []string{"--snapshot-keep-daily -1 (flag --snapshot-keep-daily) is negative; use 0 or more"}},
		{"--snapshot-after-binlog 1K", "", []string{"--snapshot-after-binlog 1K (flag --snapshot-after-binlog) is too small; use 1M or more, or auto"}},
		{"--snapshot-rate 1K", "", []string{"--snapshot-rate 1K (flag --snapshot-rate) is too small; use 64K or more, or auto"}},
		{"--snapshot-scratch some/dir", "", []string{"--snapshot-scratch some/dir (flag --snapshot-scratch) is no absolute path; give an absolute path"}},
		{"--snapshot-recipient age1x", "AUTOPILOT_SNAPSHOT_PASSPHRASE=hush", []string{"snapshot-passphrase (environment AUTOPILOT_SNAPSHOT_PASSPHRASE) and --snapshot-recipient age1x (flag --snapshot-recipient) contradict each other; keep one of the two"}},
		{"--store manta:///me/stor", "", []string{"--store manta:///me/stor (flag --store) needs a private key to sign with; set MANTA_PRIVATE_KEY or MANTA_PRIVATE_KEY_FILE"}},
		{"--snapshot-keep 0", "", []string{"--snapshot-keep 0 (flag --snapshot-keep) is out of range; keep at least 1, a new node starts from it"}},
		{"--datadir /" + strings.Repeat("d", 90), "", []string{"--datadir /" + strings.Repeat("d", 90) + " (flag --datadir) is too long; use a shorter path, sockets below it have a limit of 108 bytes"}},
		{"--datadir /", "", []string{"--datadir / (flag --datadir) is the root of the file system; name a directory of its own"}},
		{"--mysql-user root", "MYSQL_PASSWORD=x", []string{"--mysql-user root (flag --mysql-user) is not usable for the application; name an account of at most 32 characters other than root"}},
		{"--repl-user " + strings.Repeat("r", 24), "", []string{"--repl-user " + strings.Repeat("r", 24) + " (flag --repl-user) is not usable as an account prefix; use at most 23 letters, digits, '.', '_' and '-'"}},
		{"--consul ftp://a", "", []string{"--consul ftp://a (flag --consul) has an address with an unknown scheme; " + consulForm}},
		{"--consul a:b", "", []string{`--consul a:b (flag --consul) has "a:b", which is no address; ` + consulForm}},
		{"--consul http://id:key@a:1", "", []string{`--consul http://***@a:1 (flag --consul) has "http://***@a:1", which is no address; ` + consulForm}},
		{"--consul b:1,id:key@a:1", "", []string{`--consul b:1,***@a:1 (flag --consul) has "***@a:1", which is no address; ` + consulForm}},
		{"", "AUTOPILOT_STORE=s3://id:key@b SNAPSHOT_BACKEND=local", []string{"AUTOPILOT_STORE=s3://***@b and SNAPSHOT_BACKEND=local contradict each other (both set store); keep one of the two"}},
		{"--consul=,", "", []string{"--consul  (flag --consul) is empty; give at least one address"}},
		{"--store /backups", "", []string{"the snapshot store (flag --store) is not a URL; " + storeForm}},
		{"--store ftp://a", "", []string{"--store ftp://a (flag --store) has an unknown scheme; " + storeForm}},
		{"--store file://a/b", "", []string{"--store file://a/b (flag --store) is not an absolute directory; write three slashes, file:///dir"}},
		{"--store s3:///b", "", []string{"--store s3:///b (flag --store) names no bucket; write s3://bucket/prefix"}},
		{"--store s3://id:key@b", "", []string{"the snapshot store (flag --store) has credentials in its URL; use AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"}},
	} {
		t.Run(c.args+" "+c.environ, func(t *testing.T) {
			dir := filesFor(t)
			args := strings.Fields(strings.ReplaceAll(c.args, "%D", dir))
			environ := strings.Fields("MYSQL_REPL_PASSWORD=repl " + strings.ReplaceAll(c.environ, "%D", dir))
			_, report, err := Load(append(append([]string{}, here...), args...), environ)
			var e *Error
			require.ErrorAs(t, err, &e, "%v", err)
			var lines []string
			for _, p := range e.Problems {
				lines = append(lines, strings.ReplaceAll(p.String(), dir, "%D"))
			}
			require.Equal(t, c.want, lines)
			require.NotContains(t, fmt.Sprint(report), "key@")
		})
	}
}

func filesFor(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"unknown.json": `{"leaze": "3s"}`, "twice.json": `{"lease": "3s", "lease": "4s"}`, "list.json": `[]`,
		"nested.json": `{"lease": {}}`, "more.json": `{} {}`, "bad.json": `{"lease": "soon"}`,
		"both.json": `{"consul-token": "x", "consul-token-file": "` + dir + `/secret"}`, "secret": "s\n", "empty": "\n",
	} {
		writeInto(t, dir, name, content)
	}
	return dir
}
