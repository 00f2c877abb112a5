package config

import (
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// auto is the word for "find out".
const auto = "auto"

// finishCommon completes and checks what all commands share.
func (r *resolver) finishCommon(c *Common) {
	r.deriveCluster(c)
	r.normaliseConsul(c)
	r.checkCommon(c)
}

// deriveCluster keeps apart what the predecessor kept apart: its clusters differed by SERVICE_NAME only.
func (r *resolver) deriveCluster(c *Common) {
	cluster, service := r.byName["cluster"], r.byName["service"]
	if cluster == nil || service == nil || cluster.changed || service.source.Where != "SERVICE_NAME" || c.Service == service.def {
		return
	}
	c.Cluster = c.Service
	cluster.source = service.source
}

// normaliseConsul completes addresses to URLs' host:port, with https:// where TLS is wanted. Giving a CA or a certificate
// asks for TLS: a token must not travel in the clear because a scheme was forgotten.
func (r *resolver) normaliseConsul(c *Common) {
	asked := r.firstSet("consul-tls", "consul-ca", "consul-cert", "consul-server-name", "consul-insecure")
	c.Consul = splitList(strings.Join(c.Consul, ","))
	for i, addr := range c.Consul {
		scheme, host, ok := strings.Cut(addr, "://")
		if !ok {
			scheme, host = "", addr
		}
		host = strings.TrimSuffix(host, "/")
		switch {
		case scheme == "unix":
			continue
		case scheme != "" && scheme != "http" && scheme != "https":
			r.problems.add("write host:port, http://host:port or https://host:port", "%s has an address with an unknown scheme", r.cite("consul"))
		case scheme == "http" && asked != nil:
			r.problems.add("write https:// or drop the TLS setting", "%s and %s contradict each other", r.cite("consul"), asked.cite())
		case scheme == "" && asked != nil:
			scheme = "https"
		}
		host = withPort(host, "8500")
		if !validHostPort(host, 1) {
			r.problems.add("write host:port, http://host:port or https://host:port", "%s has %q, which is no address", r.cite("consul"), redact(addr))
			continue
		}
		if scheme == "https" {
			host = "https://" + host
		}
		c.Consul[i] = host
	}
	if len(c.Consul) == 0 {
		r.problems.add("give at least one address", "%s is empty", r.cite("consul"))
	}
}

// firstSet is the first of these settings that is on or not empty.
func (r *resolver) firstSet(names ...string) *field {
	for _, name := range names {
		if f := r.byName[name]; f != nil && f.changed && !f.value.IsZero() {
			return f
		}
	}
	return nil
}

func (r *resolver) cite(name string) string {
	if f := r.byName[name]; f != nil {
		return f.cite()
	}
	return "--" + name
}

// finishNode computes what was left to be found out, and checks everything a node needs.
func (r *resolver) finishNode(s *Settings) {
	s.NameGiven = s.Name != ""
	if !s.NameGiven {
		if name, err := os.Hostname(); err == nil {
			s.Name = name
		}
	}
	if dir, err := filepath.Abs(s.Datadir); err == nil {
		s.Datadir = dir
	}
	if s.RunAs == auto {
		s.RunAs = systemUser(os.Getuid())
	}
	if s.MaxAckers == 0 {
		s.MaxAckers, s.maxAckersAuto = max(2*s.Acks, 2), true
	}
	if s.RootPassword != "" && !r.byName["mysql-random-root-password"].changed {
		s.RandomRoot = false
	}
	r.deriveAddresses(s)
	r.deriveMemory(s)
	r.checkNode(s)
}

// systemUser is who runs mysqld: root must not when there is an account made for it.
func systemUser(uid int) string {
	if uid != 0 {
		return ""
	}
	if _, err := user.Lookup("mysql"); err == nil {
		return "mysql"
	}
	return "root"
}

// withPort adds the port when there is none.
func withPort(host, port string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port)
}

// validHostPort checks host:port with a port of at least lowest.
func validHostPort(s string, lowest int) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || strings.ContainsAny(host, " /@?#") || host == "" && lowest > 0 {
		return false
	}
	n, err := strconv.Atoi(port)
	return err == nil && n >= lowest && n <= 65535
}

// SystemUser is who runs a mysqld that this process starts, when nothing else is said.
func SystemUser() string { return systemUser(os.Getuid()) }
