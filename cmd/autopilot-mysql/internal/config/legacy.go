package config

import (
	"maps"
	"net/url"
	"slices"
	"strings"
)

// conversions turn the predecessor's way of writing a value into ours. A text they do not understand passes unchanged,
// and is then refused as any other wrong value.
var conversions = map[string]func(string) string{
	"CONSUL":                  consulHost,
	"BACKUP_TTL":              seconds,
	"BACKUP_TTL_SECS":         seconds,
	"INNODB_BUFFER_POOL_SIZE": megabytes,
	"CONSUL_HTTP_SSL_VERIFY":  inverted,
	"LOG_LEVEL":               logLevel,
}

// consulHost adds Consul's port: the predecessor's CONSUL was a host only.
func consulHost(s string) string {
	if strings.ContainsAny(s, ":/,") {
		return s
	}
	return s + ":8500"
}

func seconds(s string) string   { return withUnit(s, "s") }
func megabytes(s string) string { return withUnit(s, "M") }

func withUnit(s, unit string) string {
	if s != "" && strings.Trim(s, "0123456789") == "" {
		return s + unit
	}
	return s
}

func inverted(s string) string {
	b, err := parseBool(s)
	switch {
	case err != nil:
		return s
	case b:
		return "false"
	default:
		return "true"
	}
}

func logLevel(s string) string {
	switch l := strings.ToLower(s); l {
	case "warning":
		return "warn"
	case "critical", "fatal":
		return "error"
	case "trace":
		return "debug"
	case "notice":
		return "info"
	default:
		return l
	}
}

// dead are variables of the predecessor (and of its known fork) that are accepted and do nothing, with the reason.
var dead = map[string]string{
	"CONSUL_AGENT":              "no Consul agent is started inside the container; give its address in CONSUL_HTTP_ADDR",
	"CONTAINERPILOT":            "there is no ContainerPilot any more, this program does its work",
	"PRIMARY_KEY":               "keys in Consul live under mysql/<cluster>/",
	"LAST_BACKUP_KEY":           "the store itself lists the snapshots",
	"LAST_BINLOG_KEY":           "the store itself lists the snapshots",
	"BACKUP_LOCK_KEY":           "keys in Consul live under mysql/<cluster>/",
	"BACKUP_NAME":               "snapshots name themselves",
	"BACKUP_TTL_KEY":            "keys in Consul live under mysql/<cluster>/",
	"BACKUP_FORMAT":             "there is one snapshot format",
	"BACKUP_DECOMPRESS_THREADS": "snapshots are decompressed while they are read",
	"SESSION_NAME":              "keys in Consul live under mysql/<cluster>/",
	"SESSION_TTL":               "AUTOPILOT_LEASE decides how long a silent primary keeps its role",
	"SESSION_CACHE_FILE":        "sessions are not kept in files",
	"FAILOVER_IN_PROGRESS":      "keys in Consul live under mysql/<cluster>/",
	"FAILOVER_SESSION_FILE":     "sessions are not kept in files",
	"USE_STANDBY":               "every caught-up replica can be a standby",
	"STANDBY_KEY":               "keys in Consul live under mysql/<cluster>/",
	"TRITON_MYSQL_CONSUL":       "give Consul's address in CONSUL_HTTP_ADDR",
	"MYSQL_USER_CONF":           "give mysqld arguments after --",
	"MINIO_TIMEOUT":             "transfers have their own limits",
	"CONSUL_CAPATH":             "one PEM file is read, CONSUL_CACERT",
}

// warnDead adds one line for every accepted variable without a meaning.
func (r *resolver) warnDead() {
	for _, name := range sortedKeys(dead) {
		if _, ok := r.env[name]; ok {
			r.warn(name + " is ignored: " + dead[name])
		}
	}
}

func (r *resolver) warn(line string) { r.report.Warnings = append(r.report.Warnings, line) }

// legacyStore makes a store URL of the predecessor's SNAPSHOT_BACKEND, MINIO_*, STORAGE_DIR and MANTA_* variables.
// Without SNAPSHOT_BACKEND the others count only when there is no store of our own (they may be its credentials then).
func (r *resolver) legacyStore(own bool) (offer, bool) {
	backend := strings.ToLower(r.env["SNAPSHOT_BACKEND"])
	where := "SNAPSHOT_BACKEND"
	if backend == "" {
		if own || r.given["store"] {
			return offer{}, false
		}
		backend, where = r.guessBackend()
	}
	build := map[string]func() string{"minio": r.minioURL, "local": r.localURL, "manta": r.mantaURL}[backend]
	if build == nil {
		if backend != "" {
			r.problems.add("set AUTOPILOT_STORE instead", "SNAPSHOT_BACKEND=%s is not one of minio, local, manta", backend)
		}
		return offer{}, false
	}
	return offer{raw: r.env[where], text: build(), source: Source{Environment, where}}, true
}

// guessBackend finds the one backend whose variables are there; two of them contradict each other.
func (r *resolver) guessBackend() (backend, where string) {
	for _, g := range []struct{ name, backend string }{
		{"MINIO_URL", "minio"}, {"MINIO_BUCKET", "minio"}, {"MINIO_ACCESS_KEY", "minio"}, {"STORAGE_DIR", "local"}, {"MANTA_USER", "manta"},
	} {
		if _, ok := r.env[g.name]; !ok || g.backend == backend {
			continue
		}
		if backend != "" {
			r.problems.add("say which one in SNAPSHOT_BACKEND", "%s and %s contradict each other (both name a snapshot store)", where, g.name)
			return "", ""
		}
		backend, where = g.backend, g.name
	}
	return backend, where
}

func (r *resolver) envOr(name, otherwise string) string {
	if v, ok := r.env[name]; ok {
		return v
	}
	return otherwise
}

func (r *resolver) minioURL() string {
	scheme := "http://"
	if secure := r.env["MINIO_TLS_SECURE"]; secure != "" {
		on, err := parseBool(secure)
		if err != nil {
			r.problems.add("correct the value", "MINIO_TLS_SECURE=%s is %s", secure, err)
		}
		if on {
			scheme = "https://"
		}
	}
	endpoint := r.envOr("MINIO_URL", "minio:9000")
	if !strings.Contains(endpoint, "://") {
		endpoint = scheme + endpoint
	}
	q := "endpoint=" + url.QueryEscape(endpoint) + "&path-style=true&region=" + url.QueryEscape(r.envOr("MINIO_LOCATION", "us-east-1"))
	return "s3://" + r.envOr("MINIO_BUCKET", "backups") + "?" + q
}

func (r *resolver) localURL() string {
	return (&url.URL{Scheme: "file", Path: r.envOr("STORAGE_DIR", "/tmp/snapshots")}).String()
}

func (r *resolver) mantaURL() string {
	bucket := r.envOr("MANTA_BUCKET", "/"+r.env["MANTA_USER"]+"/stor")
	return (&url.URL{Scheme: "manta", Path: "/" + strings.Trim(bucket, "/")}).String()
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
