// Package config turns flags, environment and a JSON file into one validated value, Settings.
//
// The struct fields are the only declaration: flag, environment names, default, help text and the generated reference
// all come from their tags. The order is defaults ← file ← environment ← flags; every effective value remembers where
// it came from. Values are taken literally: nothing is cut at a '#', nothing is expanded at a '$'.
//
// Tags, beside kong's own (name, help, default, enum, placeholder, group, hidden):
//
//	vars:"A,B"     further environment names, beside AUTOPILOT_<NAME>
//	indirect:"…"    "env:NAME" in a variable or the file means the value of the variable NAME, after what the tag says
//	secret:"…"     the name of a secret; never a flag, only environment or file, or a path in <name>-file
package config

//go:generate sh -c "go run ./reference > ../../../../docs/settings.md"

import "time"

// Logging is how much is logged and in which form.
type Logging struct {
	LogLevel  string `name:"log-level" group:"output" default:"info" enum:"debug,info,warn,error" vars:"LOG_LEVEL" help:"Least severe level to log: debug, info, warn or error."`
	LogFormat string `name:"log-format" group:"output" default:"auto" enum:"auto,text,json" help:"Log format: auto (text on a terminal, JSON otherwise), text or json."`
}

// Output is the form of what a command prints.
type Output struct {
	Output string `name:"output" short:"o" group:"output" default:"table" enum:"table,json" help:"Form of the output: table or json."`
}

// Common are the settings every command that talks to a cluster shares.
type Common struct {
	Logging

	Config  string   `name:"config" group:"cluster" placeholder:"FILE" help:"JSON file with settings; its keys are the flag names."`
	Consul  []string `name:"consul" group:"cluster" default:"127.0.0.1:8500" placeholder:"ADDR" vars:"CONSUL_HTTP_ADDR,CONSUL" help:"Consul addresses (host:port or URL). Name the servers, not the agent of the same host."`
	Cluster string   `name:"cluster" group:"cluster" default:"main" placeholder:"NAME" help:"Cluster name; two clusters on one Consul never see each other."`
	Service string   `name:"service" group:"cluster" default:"mysql" placeholder:"NAME" vars:"SERVICE_NAME" help:"Consul service of the readers; the writable server is NAME-primary."`
	Store   string   `name:"store" group:"cluster" placeholder:"URL" help:"Where snapshots live: file:///dir, s3://bucket/prefix?endpoint=…&region=…&path-style=true (also sse=AES256 or sse=aws:kms and sse-kms-key=…) or manta:///user/stor/dir."`

	ConsulToken      Secret `kong:"-" secret:"consul-token" group:"consul" vars:"CONSUL_HTTP_TOKEN" help:"Consul ACL token."`
	ConsulTokenFile  string `name:"consul-token-file" group:"consul" placeholder:"FILE" help:"File with the Consul ACL token."`
	ConsulCA         string `name:"consul-ca" group:"consul" placeholder:"FILE" vars:"CONSUL_CACERT" help:"PEM file with the CA that signed Consul's certificate."`
	ConsulCert       string `name:"consul-cert" group:"consul" placeholder:"FILE" vars:"CONSUL_CLIENT_CERT" help:"PEM client certificate for Consul."`
	ConsulKey        string `name:"consul-key" group:"consul" placeholder:"FILE" vars:"CONSUL_CLIENT_KEY" help:"PEM key of the client certificate."`
	ConsulServerName string `name:"consul-server-name" group:"consul" placeholder:"NAME" vars:"CONSUL_TLS_SERVER_NAME" help:"Name to expect in Consul's certificate."`
	ConsulTLS        bool   `name:"consul-tls" group:"consul" vars:"CONSUL_HTTP_SSL" help:"Use https for addresses without a scheme (implied by the other TLS settings)."`
	ConsulInsecure   bool   `name:"consul-insecure" group:"consul" vars:"CONSUL_HTTP_SSL_VERIFY" help:"Do not verify Consul's certificate (CONSUL_HTTP_SSL_VERIFY=false)."`

	S3AccessKey     Secret `kong:"-" secret:"s3-access-key" group:"store" vars:"AWS_ACCESS_KEY_ID,MINIO_ACCESS_KEY" help:"S3 access key; without one the standard AWS chain decides."`
	S3AccessKeyFile string `name:"s3-access-key-file" group:"store" placeholder:"FILE" help:"File with the S3 access key; without a key the standard AWS chain decides."`
	S3SecretKey     Secret `kong:"-" secret:"s3-secret-key" group:"store" vars:"AWS_SECRET_ACCESS_KEY,MINIO_SECRET_KEY" help:"S3 secret key."`
	S3SecretKeyFile string `name:"s3-secret-key-file" group:"store" placeholder:"FILE" help:"File with the S3 secret key."`
	S3Token         Secret `kong:"-" secret:"s3-token" group:"store" vars:"AWS_SESSION_TOKEN" help:"S3 session token of temporary credentials."`
	S3TokenFile     string `name:"s3-token-file" group:"store" placeholder:"FILE" help:"File with the S3 session token."`

	MantaURL      string `name:"manta-url" group:"store" default:"https://us-east.manta.joyent.com" placeholder:"URL" vars:"MANTA_URL" help:"Manta's endpoint, for a manta: store."`
	MantaUser     string `name:"manta-user" group:"store" placeholder:"NAME" vars:"MANTA_USER" help:"Manta account. Default: the first element of the store's path."`
	MantaSubuser  string `name:"manta-subuser" group:"store" placeholder:"NAME" vars:"MANTA_SUBUSER" help:"Manta sub-user that signs."`
	MantaRole     string `name:"manta-role" group:"store" placeholder:"NAME" vars:"MANTA_ROLE" help:"Manta role to act in."`
	MantaKeyID    string `name:"manta-key-id" group:"store" placeholder:"MD5" vars:"MANTA_KEY_ID" help:"MD5 fingerprint of the Manta key. Default: computed from the key."`
	MantaKey      Secret `kong:"-" secret:"manta-key" group:"store" vars:"MANTA_PRIVATE_KEY" help:"PEM private key (RSA or ECDSA) that signs requests to Manta; a '#' may stand for a line break."`
	MantaKeyFile  string `name:"manta-key-file" group:"store" placeholder:"FILE" help:"File with the private key for Manta."`
	MantaInsecure bool   `name:"manta-insecure" group:"store" vars:"MANTA_TLS_INSECURE" help:"Do not verify Manta's certificate."`

	StoreCA string `name:"store-ca" group:"store" placeholder:"FILE" vars:"AWS_CA_BUNDLE" help:"PEM file with a CA that signed the certificate of the snapshot store, beside those the system knows."`

	SnapshotRecipients     []string `name:"snapshot-recipient" group:"store" placeholder:"age1…" help:"age public keys that new snapshots and archives are encrypted to."`
	SnapshotIdentity       Secret   `kong:"-" secret:"snapshot-identity" group:"store" help:"age secret keys (the text of an identity file) that open snapshots; without --snapshot-recipient new ones are encrypted to them."`
	SnapshotIdentityFile   string   `name:"snapshot-identity-file" group:"store" placeholder:"FILE" help:"age identity file."`
	SnapshotPassphrase     Secret   `kong:"-" secret:"snapshot-passphrase" group:"store" help:"Passphrase that snapshots are encrypted with, instead of keys."`
	SnapshotPassphraseFile string   `name:"snapshot-passphrase-file" group:"store" placeholder:"FILE" help:"File with the passphrase for snapshots."`
	SnapshotRate           Bytes    `name:"snapshot-rate" group:"store" default:"auto" placeholder:"SIZE" help:"Most bytes per second to and from the snapshot store (50M). auto: no limit."`
}

// SnapshotRetention says which snapshots stay.
type SnapshotRetention struct {
	SnapshotKeep       int `name:"snapshot-keep" group:"store" default:"7" help:"Newest snapshots to keep."`
	SnapshotKeepDaily  int `name:"snapshot-keep-daily" group:"store" default:"0" help:"Days (UTC) of which the newest snapshot is kept, beside those."`
	SnapshotKeepWeekly int `name:"snapshot-keep-weekly" group:"store" default:"0" help:"Weeks of which the newest snapshot is kept, beside those."`
}

// Settings are everything a node needs to know. Load returns them complete: no field still says "auto" but those whose
// comment says so. They are not changed afterwards, so reading them from several goroutines is safe.
type Settings struct {
	Common

	// Name of this node, unique in its cluster, stable over restarts.
	Name string `name:"name" indirect:"" group:"node" placeholder:"NAME" help:"Name of this node, unique in the cluster. Default: the name its directory was made under, else the host name."`
	// NameGiven is false when Name is only the default: a directory that has a name keeps it, as when a container is
	// made anew (with another host name) on the volume of the former one.
	NameGiven bool `kong:"-"`
	// Datadir is the node directory D (the volume), absolute; mysqld's own data is D/data.
	Datadir string `name:"datadir" group:"node" default:"/var/lib/mysql" placeholder:"DIR" vars:"MYSQL_DATADIR" help:"The node's directory (the volume)."`
	// Adopt is looked at only while the directory has never been a node's.
	Adopt  bool   `name:"adopt" group:"node" help:"If the node's directory is the data directory of a MySQL server that was shut down in order: begin a cluster with it, or join one, without copying it. Its data moves into a folder of that directory; one line says what keeps it from being used."`
	Mysqld string `name:"mysqld" group:"node" default:"mysqld" placeholder:"PATH" help:"The mysqld binary."`
	// RunAs is the operating system user for mysqld, "" for our own. Loaded: never "auto".
	RunAs string `name:"run-as" group:"node" default:"auto" placeholder:"USER" help:"System user that runs mysqld. auto: mysql (else root) when started by root, otherwise the current user."`
	Port  int    `name:"port" indirect:"" group:"node" default:"3306" help:"Port mysqld listens on. In a variable env:NAME takes it from the variable a scheduler sets (env:PORT0)."`
	Bind  string `name:"bind" group:"node" default:"*" placeholder:"ADDR" help:"Address mysqld listens on."`
	// Advertise is the address (no port) others reach mysqld at. Loaded: never "auto".
	Advertise string `name:"advertise" indirect:"" group:"node" default:"auto" placeholder:"ADDR" help:"Address or host name others use, or a list of ways to find it, the first that finds one wins: eth0, eth0:inet6, eth0[1], 10.0.0.0/8, inet, inet6, static:ADDR. auto: the address of --bind, else the first private, non-loopback address."`
	// AdvertisePort is the port others reach mysqld at. Loaded: never 0.
	AdvertisePort int `name:"advertise-port" indirect:"" group:"node" default:"0" help:"Port others use for mysqld. 0: the same as --port."`
	// HTTP is the listen address of the status server; its port may be 0 (any free one).
	HTTP string `name:"http" indirect:":" group:"node" default:":3308" placeholder:"ADDR" help:"Listen address of the HTTP server; without a host the one of --bind, port 0: any free port."`
	// HTTPAdvertise is host:port; when HTTP has port 0 it is "host:0" until the listener knows better.
	HTTPAdvertise string `name:"http-advertise" indirect:"" group:"node" default:"auto" placeholder:"ADDR" help:"host:port others use for HTTP. auto: the advertised address and the port of --http."`
	// BufferPool in bytes. Loaded: never 0.
	BufferPool Bytes `name:"buffer-pool" group:"node" default:"auto" placeholder:"SIZE" vars:"INNODB_BUFFER_POOL_SIZE" help:"InnoDB buffer pool (512M, 4G). auto: 70 % of the container's or machine's memory."`
	// SyncRelayLog is MySQL's sync_relay_log: events between two fsyncs of the relay log.
	SyncRelayLog int `name:"sync-relay-log" group:"node" default:"10000" help:"Events between two fsyncs of the relay log. 1 keeps every acknowledged write even when all nodes lose power at once and the primary's disk is gone, at a third of the throughput."`
	// Hooks is a directory of executables named after what happens, "" for none.
	Hooks       string        `name:"hooks" group:"node" placeholder:"DIR" help:"Directory with executables that are run when this node changes: before- and after- promote, demote, snapshot, rebuild (before-promote, …). See docs/hooks.md."`
	HookTimeout time.Duration `name:"hook-timeout" group:"node" default:"30s" help:"How long one hook may run; then it is killed."`
	// HookWait is at most 5 s, and cut to half of what is left of the lease.
	HookWait time.Duration `name:"hook-wait" group:"node" default:"1s" help:"How long a promotion waits for before-promote, at most half of the lease; it opens then, whatever the hook does. 0: before-promote is not run."`
	Small    bool          `name:"small" group:"node" hidden:"" help:"Smallest footprint, for a playground."`

	// Lease is C of the protocol: how long a primary may be silent before another one may take over.
	Lease time.Duration `name:"lease" group:"failover" default:"3s" help:"How long a silent primary keeps its lease (at least 1s)."`
	// Acks is k of the protocol: standbys that must hold a write before it is acknowledged.
	Acks int `name:"acks" group:"failover" default:"1" help:"Standbys that must hold a write before it is acknowledged."`
	// MaxAckers is the most nodes in the ack set beside the primary. Loaded: never 0.
	maxAckersAuto bool          // MaxAckers follows Acks
	MaxAckers     int           `name:"max-ackers" group:"failover" default:"0" help:"Most standbys at a time, the others are plain replicas. 0: twice --acks, at least 2."`
	Policy        string        `name:"policy" group:"failover" default:"keep" enum:"keep,strict" help:"When Consul is out of reach: keep (writable while the standbys acknowledge) or strict (writable only while the lease is proved)."`
	Alone         string        `name:"alone" group:"failover" default:"go-on" enum:"go-on,refuse" help:"When the last standby is lost: go-on (acknowledge alone) or refuse (writes wait for a standby)."`
	MaxLag        time.Duration `name:"max-lag" group:"failover" default:"10s" help:"A reader further behind is not offered to applications and is no standby."`
	// Cooldown and FailoversPerHour bound how often the cluster fails over by itself; the first failover is never held back.
	Cooldown         time.Duration `name:"cooldown" group:"failover" default:"10s" help:"After an automatic failover, how long the next one is held back. Never holds back the first one, a clean stop, or an operator's failover. 0: not at all."`
	FailoversPerHour int           `name:"failovers-per-hour" group:"failover" default:"60" help:"How many automatic failovers may begin within an hour; further ones wait until fewer lie in the last hour. 0: any number."`
	// Errant says what a follower does about transactions that only it holds.
	Errant       string        `name:"errant" group:"failover" default:"rebuild" enum:"rebuild,report" help:"When something was written on a replica that its primary does not have: rebuild (archive it, then get a new copy, one replica at a time) or report (leave it as it is, out of the ack set, and say so)."`
	NoFailover   bool          `name:"nofailover" group:"failover" help:"This node never becomes primary and its acknowledgement never counts."`
	Priority     int           `name:"priority" group:"failover" default:"0" help:"Among equally advanced nodes the greatest priority wins."`
	DrainTimeout time.Duration `name:"drain-timeout" group:"failover" default:"60s" help:"How long a winner may take to apply what it has received before it gives the lock back."`
	StopTimeout  time.Duration `name:"stop-timeout" group:"failover" default:"60s" help:"How long a graceful stop may take; the container's stop period must be longer."`

	SnapshotInterval time.Duration `name:"snapshot-interval" group:"store" default:"24h" vars:"BACKUP_TTL,BACKUP_TTL_SECS" help:"Time between snapshots. 0: only the first one and on demand."`
	// ArchiveInterval is 0 for no archive of binary logs.
	ArchiveInterval time.Duration `name:"archive-interval" group:"store" default:"10s" help:"The primary's committed transactions are in the store after so long, at most: what is lost when every node is lost, and the base of recovery to a point in time. 0: no archive of binary logs."`
	// SnapshotAfter is 0 for "not by size".
	SnapshotAfter  Bytes         `name:"snapshot-after-binlog" group:"store" default:"auto" placeholder:"SIZE" help:"Take a snapshot earlier when so much binary log was written since the last one (20G). auto: only by time."`
	SnapshotVerify time.Duration `name:"snapshot-verify" group:"store" default:"0" help:"Time between automatic verifications: the newest snapshot is restored beside the data (it needs that space) and every table read by a scratch server. 0: none."`
	// SnapshotScratch is "" for a directory in Datadir.
	SnapshotScratch string `name:"snapshot-scratch" group:"store" placeholder:"DIR" help:"Where clones for snapshots and verifications are made; needs the space of the data, and mysqld must be able to write there. Default: below --datadir."`
	SnapshotRetention

	Database         string `name:"mysql-database" group:"mysql" placeholder:"NAME" vars:"MYSQL_DATABASE" help:"Database to create in a new cluster."`
	User             string `name:"mysql-user" group:"mysql" placeholder:"NAME" vars:"MYSQL_USER" help:"Application account to create in a new cluster, with all rights on the database."`
	Password         Secret `kong:"-" secret:"mysql-password" group:"mysql" vars:"MYSQL_PASSWORD" help:"Password of the application account."`
	PasswordFile     string `name:"mysql-password-file" group:"mysql" placeholder:"FILE" help:"File with the password of the application account."`
	RootPassword     Secret `kong:"-" secret:"mysql-root-password" group:"mysql" vars:"MYSQL_ROOT_PASSWORD" help:"Password of root in a new cluster; wins over the random one."`
	RootPasswordFile string `name:"mysql-root-password-file" group:"mysql" placeholder:"FILE" help:"File with the password of root."`
	// RandomRoot is false once RootPassword is given.
	RandomRoot       bool   `name:"mysql-random-root-password" group:"mysql" default:"true" negatable:"" vars:"MYSQL_RANDOM_ROOT_PASSWORD" help:"Make up a password for root and log it once, unless one is given."`
	OneTime          bool   `name:"mysql-onetime-password" group:"mysql" vars:"MYSQL_ONETIME_PASSWORD" help:"Root must change its password at the first login."`
	ReplUser         string `name:"repl-user" group:"mysql" default:"repl" placeholder:"NAME" vars:"MYSQL_REPL_USER" help:"Prefix of the accounts the cluster makes for itself."`
	ReplPassword     Secret `kong:"-" secret:"repl-password" group:"mysql" vars:"MYSQL_REPL_PASSWORD" help:"Password of the cluster's own accounts, the same on every node, at most 32 bytes. Required."`
	ReplPasswordFile string `name:"repl-password-file" group:"mysql" placeholder:"FILE" help:"File with the password of the cluster's own accounts."`
	MySQLCA          string `name:"mysql-ca" group:"mysql" placeholder:"FILE" help:"PEM file with the CA that signed the certificates of all nodes. With it replication, clones and the nodes' own logins verify whom they talk to."`
	MySQLCert        string `name:"mysql-cert" group:"mysql" placeholder:"FILE" help:"PEM certificate of mysqld, for clients and other nodes. Default: mysqld makes one nobody can verify."`
	MySQLKey         string `name:"mysql-key" group:"mysql" placeholder:"FILE" help:"PEM key of that certificate, readable by the user that runs mysqld."`
	MySQLTLSVerify   string `name:"mysql-tls-verify" group:"mysql" default:"identity" enum:"identity,ca" help:"What nodes verify with --mysql-ca: identity (the certificate names the advertised address) or ca (any certificate of the CA; a clone verifies no more than that in any case)."`
	MySQLTLSRequired bool   `name:"mysql-tls-required" group:"mysql" help:"Refuse clients that come over the network without TLS."`
	InitDir          string `name:"init-dir" group:"mysql" default:"/docker-entrypoint-initdb.d" placeholder:"DIR" help:"Scripts (*.sql, *.sql.gz, *.sh) run once in a new cluster, in order of their names."`

	// Extra are the mysqld arguments after "--".
	Extra []string `kong:"-"`
}
