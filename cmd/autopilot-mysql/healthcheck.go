package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
)

// healthTimeout bounds the question; a node answers from memory.
const healthTimeout = 3 * time.Second

// healthcheck asks this container's own node, for an image without curl.
type healthcheck struct {
	Check string `arg:"" optional:"" default:"livez" enum:"livez,readyz,primary,standby,replica,read-only" help:"livez, readyz, primary, standby, replica or read-only."`
	// The settings of run, so that the same environment leads to the same port.
	HTTP string `name:"http" indirect:":" group:"node" default:":3308" placeholder:"ADDR" help:"Address of the node's HTTP server."`
	Bind string `name:"bind" group:"node" default:"*" placeholder:"ADDR" help:"Address mysqld listens on; the HTTP server's when --http has no host."`
	config.Logging
	config.Output
}

// Help is the long text of `healthcheck --help`.
func (*healthcheck) Help() string {
	return "Asks the node in the same container and ends with 0 or 1. As a container's health check use livez: it never restarts a node for a trouble of the cluster.\n\nExample: autopilot-mysql healthcheck readyz"
}

// Run is called by kong.
func (h *healthcheck) Run(ctx context.Context, inv *cli.Invocation) error {
	if _, err := config.Resolve(h, config.FlagsOf(inv.Kong), inv.Environ); err != nil {
		return err
	}
	f, err := h.ask(ctx)
	if h.Output.Output == "json" {
		if perr := writeJSON(inv.Stdout, f); perr != nil {
			return perr
		}
		return err
	}
	if err == nil {
		_, err = fmt.Fprintln(inv.Stdout, f.body)
	}
	return err
}

// finding is what a check found, for tools.
type finding struct {
	Check   string `json:"check"`
	Address string `json:"address"`
	OK      bool   `json:"ok"`
	// Status is the answer's, 0 when there was none; Answer is the node's own document.
	Status int             `json:"status"`
	Answer json.RawMessage `json:"answer"`
	Error  string          `json:"error,omitempty"`

	body string // as it came
}

// ask asks the node. The finding is worth showing also with an error.
func (h *healthcheck) ask(ctx context.Context) (f finding, err error) {
	f = finding{Check: h.Check, Address: h.address()}
	defer func() {
		if f.OK = err == nil; err != nil {
			f.Error = err.Error()
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+f.Address+"/"+h.Check, nil)
	if err != nil {
		return f, &cli.Error{Code: cli.Usage, What: "check health", Why: err.Error(), Next: "correct --http"}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return f, &cli.Error{What: "check health", Why: "the node does not answer: " + innermost(err), Next: "look at its log"}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return f, fmt.Errorf("check health: %w", err)
	}
	f.Status, f.body = resp.StatusCode, strings.TrimSpace(string(body))
	if json.Valid(body) {
		f.Answer = body
	}
	if resp.StatusCode != http.StatusOK {
		return f, &cli.Error{What: "check health", Why: fmt.Sprintf("/%s answers %d: %s", h.Check, f.Status, f.body)}
	}
	return f, nil
}

// address is where this host reaches the node's HTTP server.
func (h *healthcheck) address() string {
	host, port, err := net.SplitHostPort(h.HTTP)
	if err != nil {
		return h.HTTP
	}
	if host == "" {
		host = h.Bind
	}
	if ip := net.ParseIP(host); host == "*" || host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
