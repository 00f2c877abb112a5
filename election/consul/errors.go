package consul

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"

	"github.com/hashicorp/consul/api"

	"github.com/autopilot-mysql/autopilot-mysql/election"
)

// errNoLeader is what an agent without a leader behind it amounts to.
var errNoLeader = errors.New("it has no leader")

// Error is a failed request as an operator needs it: where, what, why, what to do. It wraps one of the sentinels of
// package election and the cause. It never contains a token.
type Error struct {
	Addr    string // URL of the agent
	Op      string // what was attempted, completes "cannot ..."
	Problem string // why it failed
	Hint    string // what to do about it, may be empty
	Kind    error  // a sentinel of package election
	Err     error  // the cause
}

// Error implements error in one line.
func (e *Error) Error() string {
	s := fmt.Sprintf("consul at %s: cannot %s: %s", e.Addr, e.Op, e.Problem)
	if errors.Is(e.Kind, election.ErrUnknown) {
		s = fmt.Sprintf("consul at %s: outcome unknown: %s: %s", e.Addr, e.Op, e.Problem)
	}
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Unwrap gives the kind and the cause to [errors.Is].
func (e *Error) Unwrap() []error { return []error{e.Kind, e.Err} }

// explain turns the error of one exchange into an [Error].
func explain(r request, addr string, seen *exchange, err error) error {
	e := &Error{Addr: addr, Op: r.op, Err: err, Kind: election.ErrUnknown}
	status := int(seen.status.Load())
	var told api.StatusError
	if errors.As(err, &told) {
		status = told.Code
	}
	switch {
	case errors.Is(err, errNotConsul):
		e.Problem = fmt.Sprintf("whatever answers there with status %d is not Consul: %s", status, answer(err))
		e.Hint = "check the Consul address and port, and the proxy before it if there is one"
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		e.Kind = election.ErrDenied
		e.Problem = "permission denied: " + answer(err)
		e.Hint = "check the Consul token: the needed ACL policy is in the documentation"
	case status >= 400 && status < 500 && status != http.StatusRequestTimeout && status != http.StatusTooManyRequests:
		e.Kind = election.ErrRefused
		e.Problem = fmt.Sprintf("refused with status %d: %s", status, answer(err))
	case status >= 400:
		e.Problem = fmt.Sprintf("answered with status %d: %s", status, answer(err))
		e.Hint = "check that Consul has a leader (consul operator raft list-peers)"
	case errors.Is(err, errNoLeader):
		e.Problem = "Consul has no leader"
		e.Hint = "check that a majority of the Consul servers is running and connected"
	case !seen.sent.Load():
		e.Kind = election.ErrUnreachable
		e.Problem, e.Hint = network(err)
	default:
		e.Problem, e.Hint = network(err)
	}
	if errors.Is(e.Kind, election.ErrUnknown) && r.effect == none {
		e.Kind = election.ErrUnavailable
	}
	return e
}

// movesOn says whether another agent may do better after err.
func movesOn(err error) bool {
	return errors.Is(err, election.ErrUnknown) || errors.Is(err, election.ErrUnreachable) || errors.Is(err, election.ErrUnavailable)
}

// network explains an exchange without a whole answer.
func network(err error) (problem, hint string) {
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		err = urlErr.Err // without the URL, which is long and says nothing new
	}
	var (
		unknownCA x509.UnknownAuthorityError
		wrongName x509.HostnameError
		expired   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		remote    *net.OpError
		dns       *net.DNSError
		netErr    net.Error
	)
	switch {
	case errors.As(err, &unknownCA):
		return "its certificate is signed by an unknown authority", "set the Consul CA file to the authority's certificate"
	case errors.As(err, &wrongName):
		return "its certificate is for another name: " + wrongName.Error(), "use a name from the certificate as address, or set the Consul TLS server name"
	case errors.As(err, &expired):
		return "its certificate is not valid: " + expired.Error(), "renew the certificate, and check the clocks of both machines"
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "it does not speak TLS on this port", "use an http:// address, or Consul's https port"
	case errors.As(err, &remote) && remote.Op == "remote error": // what crypto/tls calls an alert of the other side
		return "it ended the TLS handshake: " + remote.Err.Error(), "if Consul verifies clients, set the client certificate and key"
	case errors.As(err, &dns):
		return "the name " + dns.Name + " does not resolve", "check the Consul address and the DNS of this machine"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused", "check that Consul runs there and listens on this address"
	case errors.Is(err, context.Canceled):
		return "the request was cancelled", ""
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return "no answer in time", "check the network between this node and Consul, and Consul's load"
	}
	return err.Error(), "check the network between this node and Consul"
}

// answer is what Consul itself said, in one line of bounded length.
func answer(err error) string {
	text := err.Error()
	var status api.StatusError
	if errors.As(err, &status) {
		text = status.Body
	}
	text = strings.Join(strings.Fields(text), " ")
	const most = 300
	if len(text) > most {
		text = text[:most] + "…"
	}
	return text
}
