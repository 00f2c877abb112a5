package config

import (
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func (r *resolver) deriveAddresses(s *Settings) {
	if s.AdvertisePort == 0 {
		s.AdvertisePort = s.Port
	}
	r.deriveAdvertise(s, hostInterfaces)
	if host, port, err := net.SplitHostPort(s.HTTP); err == nil && host == "" && isSpecific(s.Bind) {
		s.HTTP = net.JoinHostPort(s.Bind, port)
	}
	if s.HTTPAdvertise == auto {
		_, port, err := net.SplitHostPort(s.HTTP)
		if err == nil {
			s.HTTPAdvertise = net.JoinHostPort(s.Advertise, port)
		}
	}
}

// nic is a network interface with its addresses in the system's order.
type nic struct {
	name string
	ips  []netip.Addr
}

// hostInterfaces lists this host's (or container's) interfaces that are up.
func hostInterfaces() ([]nic, error) {
	list, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var nics []nic
	for _, i := range list {
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has just gone away
		}
		n := nic{name: i.Name}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				n.ips = append(n.ips, p.Addr().Unmap())
			}
		}
		nics = append(nics, n)
	}
	return nics, nil
}

// deriveAdvertise turns the ways to find an address into the address. A value that is none of them is an address or a
// host name and stays as it is.
func (r *resolver) deriveAdvertise(s *Settings, interfaces func() ([]nic, error)) {
	if s.Advertise != auto && !isSpecList(s.Advertise) {
		return
	}
	nics, err := interfaces()
	if s.Advertise == auto {
		var all []netip.Addr
		for _, n := range nics {
			all = append(all, n.ips...)
		}
		if s.Advertise = chooseAddress(s.Bind, all); s.Advertise == "" {
			r.problems.lacks("name the address others reach this node at", "--advertise auto found no address beside loopback (%v)", orNone(err))
		}
		return
	}
	for _, spec := range splitList(s.Advertise) {
		if ip := addressBySpec(spec, nics); ip != "" {
			s.Advertise = ip
			return
		}
	}
	var have []string
	for _, n := range nics {
		for _, ip := range n.ips {
			have = append(have, n.name+" "+ip.String())
		}
	}
	r.problems.add("correct it; this host has "+strings.Join(have, ", "), "%s finds no address here", r.cite("advertise"))
}

// interfaceSpec is an interface's name with a choice among its addresses: eth0, eth0:inet6, eth0[1].
var interfaceSpec = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9_.-]{0,14})(?::(inet6?)|\[(\d+)\])?$`)

// isSpecList tells ways to find an address from an address or a host name. A bare word is taken for an interface only
// if a host name is unlikely: it ends in a digit and has no dot, or stands in a list.
func isSpecList(value string) bool {
	specs := splitList(value)
	if len(specs) > 1 {
		return true
	}
	_, _, isNet := strings.Cut(value, "/")
	m := interfaceSpec.FindStringSubmatch(value)
	return isNet || strings.HasPrefix(value, "static:") || value == "inet" || value == "inet6" || m != nil && (m[2] != "" || m[3] != "") || deviceName.MatchString(value)
}

// deviceName are the names Linux gives network interfaces.
var deviceName = regexp.MustCompile(`^(eth|en[opsx]|wl|bond|br|team|ib|vlan|tun|tap|wg|lo|cni|veth|macvlan|ipvlan)[A-Za-z0-9]*[0-9]$|^lo$`)

// addressBySpec is the address one spec finds; "" when it finds none.
func addressBySpec(spec string, nics []nic) string {
	if ip, ok := strings.CutPrefix(spec, "static:"); ok {
		return ip
	}
	if spec == "inet" || spec == "inet6" {
		return firstIP(nics, func(_ nic, ip netip.Addr) bool { return ip.IsGlobalUnicast() && ip.Is4() == (spec == "inet") })
	}
	if p, err := netip.ParsePrefix(spec); err == nil {
		return firstIP(nics, func(_ nic, ip netip.Addr) bool { return p.Contains(ip) })
	}
	m := interfaceSpec.FindStringSubmatch(spec)
	if m == nil {
		return ""
	}
	if m[3] != "" {
		at, err := strconv.Atoi(m[3])
		i := slices.IndexFunc(nics, func(n nic) bool { return n.name == m[1] })
		if err != nil || i < 0 || at >= len(nics[i].ips) {
			return ""
		}
		return nics[i].ips[at].String()
	}
	return firstIP(nics, func(n nic, ip netip.Addr) bool {
		return n.name == m[1] && !ip.IsLinkLocalUnicast() && ip.Is4() == (m[2] != "inet6")
	})
}

// firstIP is the first address that fits, in the order of the interfaces.
func firstIP(nics []nic, fits func(nic, netip.Addr) bool) string {
	for _, n := range nics {
		for _, ip := range n.ips {
			if fits(n, ip) {
				return ip.String()
			}
		}
	}
	return ""
}

func orNone(err error) any {
	if err == nil {
		return "no interface has one"
	}
	return err
}

// isSpecific tells one address from "all of them".
func isSpecific(bind string) bool {
	ip, err := netip.ParseAddr(bind)
	return err == nil && !ip.IsUnspecified()
}

// chooseAddress is the bind address itself when it is a specific one; else the first private IPv4 address, then any
// other IPv4, then IPv6 ones in the same order; empty when there is nothing but loopback and link-local addresses.
func chooseAddress(bind string, all []netip.Addr) string {
	if isSpecific(bind) {
		return bind
	}
	if bind == "localhost" {
		return "127.0.0.1"
	}
	var ips []netip.Addr
	for _, ip := range all {
		if ip.IsGlobalUnicast() {
			ips = append(ips, ip)
		}
	}
	rank := func(ip netip.Addr) int {
		n := 0
		if !ip.Is4() {
			n += 2
		}
		if !ip.IsPrivate() {
			n++
		}
		return n
	}
	slices.SortStableFunc(ips, func(a, b netip.Addr) int { return rank(a) - rank(b) })
	if len(ips) == 0 {
		return ""
	}
	return ips[0].String()
}
