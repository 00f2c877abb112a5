package agent

import (
	"net"
	"strconv"
)

// mysqlAddr is where other nodes reach this one's mysqld.
func (a *Agent) mysqlAddr() string {
	return net.JoinHostPort(a.Settings.Advertise, strconv.Itoa(a.Settings.AdvertisePort))
}
