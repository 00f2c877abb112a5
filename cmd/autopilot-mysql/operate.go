package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cli"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/cluster"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/config"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/operate"
	"github.com/autopilot-mysql/autopilot-mysql/cmd/autopilot-mysql/internal/show"
	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// addOperations plugs in the operator's commands.
func addOperations(h *cli.Handlers) {
	h.Switchover = func(ctx context.Context, inv *cli.Invocation, o cli.Switchover) error {
		return request(ctx, inv, &o.Common, o.Output, operate.Ask{What: "switch over", Wait: o.Wait, DryRun: o.DryRun,
			Request: roles.Request{Kind: roles.RequestSwitchover, Node: o.To, Timeout: o.Timeout}})
	}
	h.Failover = func(ctx context.Context, inv *cli.Invocation, o cli.Failover) error {
		a := operate.Ask{What: "fail over", Wait: o.Wait, DryRun: o.DryRun, Request: roles.Request{Kind: roles.RequestFailover, Node: o.To, Timeout: o.Timeout,
			Options: roles.RequestOptions{Force: o.Force, AcceptDataLoss: o.AcceptDataLoss}}}
		if !o.Yes {
			a.Confirm = func(sentence string) error { return confirm(inv, o.To, sentence) }
		}
		return request(ctx, inv, &o.Common, o.Output, a)
	}
	h.Rebuild = func(ctx context.Context, inv *cli.Invocation, o cli.Rebuild) error {
		return request(ctx, inv, &o.Common, o.Output, operate.Ask{What: "rebuild", Wait: o.Wait, DryRun: o.DryRun,
			Request: roles.Request{Kind: roles.RequestRebuild, Node: o.Node, Timeout: o.Timeout, Options: roles.RequestOptions{Force: o.Force}}})
	}
	h.Remove = func(ctx context.Context, inv *cli.Invocation, o cli.Remove) error {
		return request(ctx, inv, &o.Common, o.Output, operate.Ask{What: "remove", Wait: o.Wait, DryRun: o.DryRun,
			Request: roles.Request{Kind: roles.RequestRemove, Node: o.Node, Timeout: o.Timeout, Options: roles.RequestOptions{Force: o.Force}}})
	}
	h.Pause, h.Resume, h.History, h.ConfigSet, h.Shared = pause, resume, history, configSet, shared
}

// desk opens the way to the cluster's records.
func desk(inv *cli.Invocation, c *config.Common) (*operate.Desk, func(), error) {
	client, err := consulClient(c, statusTimeout)
	if err != nil {
		return nil, nil, err
	}
	return &operate.Desk{Store: client.Store(), Cluster: c.Cluster, By: operator(inv.Environ), Now: time.Now,
		Say: func(s string) { fmt.Fprintln(inv.Stderr, s) }}, client.Close, nil
}

// operator is user@host of whoever typed the command.
func operator(environ []string) string {
	name := ""
	for _, key := range []string{"SUDO_USER=", "USER=", "LOGNAME="} {
		for _, kv := range environ {
			if v, ok := strings.CutPrefix(kv, key); ok && name == "" {
				name = v
			}
		}
	}
	if name == "" {
		if u, err := user.Current(); err == nil {
			name = u.Username
		} else {
			name = fmt.Sprintf("uid %d", os.Getuid())
		}
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

// confirm asks on a terminal; without one the operator has to say --yes.
func confirm(inv *cli.Invocation, word, sentence string) error {
	no := &cli.Error{Code: cli.Refused, What: "fail over", Node: word, Why: "refused by guard " + roles.GuardConfirmation + ": " + sentence}
	in, ok := inv.Stdin.(*os.File)
	if !ok || !show.IsTerminal(in) {
		no.Next = "if that is what you want, add --yes; nothing was changed"
		return no
	}
	fmt.Fprintf(inv.Stderr, "%s\nType %s to go on: ", sentence, word)
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != word {
		no.Next = "nothing was changed"
		return no
	}
	return nil
}

// request asks the cluster for something and shows what came of it.
func request(ctx context.Context, inv *cli.Invocation, c *config.Common, o config.Output, a operate.Ask) error {
	d, end, err := desk(inv, c)
	if err != nil {
		return err
	}
	defer end()
	answer, err := d.Do(ctx, a)
	return answered(inv, o, answer, err)
}

// answered prints a request's outcome; err, if any, is the line on standard error and the exit code.
func answered(inv *cli.Invocation, o config.Output, a operate.Answer, err error) error {
	if o.Output == "json" {
		var r *roles.Request
		if a.Request.Kind != "" {
			r = &a.Request
		}
		if perr := show.Document(inv.Stdout, struct {
			Request *roles.Request `json:"request"` // null when nothing was asked of the cluster
			Said    string         `json:"said"`
		}{r, a.Said}); perr != nil {
			return perr
		}
		return err
	}
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(inv.Stdout, a.Said); err != nil {
		return fmt.Errorf("print outcome: %w", err)
	}
	return nil
}

func pause(ctx context.Context, inv *cli.Invocation, o cli.Pause) error {
	d, end, err := desk(inv, &o.Common)
	if err != nil {
		return err
	}
	defer end()
	d.DryRun = o.DryRun
	if o.Node != "" {
		return pauseNode(ctx, inv, d, o)
	}
	p, former, err := d.Pause(ctx, o.Reason)
	if err != nil {
		return err
	}
	if o.DryRun && !former {
		return say(inv, o.Output, unchanged+"automatic failover would be paused", map[string]any{"paused": false, "changed": false})
	}
	said := "automatic failover is paused; end that with: autopilot-mysql resume"
	if former {
		said = fmt.Sprintf("automatic failover is paused already, by %s since %s; end that with: autopilot-mysql resume", p.By, p.At.UTC().Format(time.DateTime)+" UTC")
	}
	return say(inv, o.Output, said, map[string]any{"paused": true, "pause": p, "changed": !former})
}

func resume(ctx context.Context, inv *cli.Invocation, o cli.Resume) error {
	d, end, err := desk(inv, &o.Common)
	if err != nil {
		return err
	}
	defer end()
	d.DryRun = o.DryRun
	if o.Node != "" {
		return resumeNode(ctx, inv, d, o)
	}
	was, err := d.Resume(ctx)
	if err != nil {
		return err
	}
	if o.DryRun && was {
		return say(inv, o.Output, unchanged+"the pause would end, and the cluster fail over by itself again", map[string]any{"paused": true, "changed": false})
	}
	said := "the pause is over: the cluster fails over by itself again"
	if !was {
		said = "there was no pause"
	}
	return say(inv, o.Output, said, map[string]any{"paused": false, "changed": was})
}

// unchanged begins what a dry run says.
const unchanged = "nothing was changed; it would be so: "

func pauseNode(ctx context.Context, inv *cli.Invocation, d *operate.Desk, o cli.Pause) error {
	m := operate.Maintenance{Node: o.Node, Reason: o.Reason, Force: o.Force}
	if o.Wait {
		m.Wait = o.Timeout
	}
	p, former, err := d.PauseNode(ctx, m)
	if err != nil {
		return err
	}
	said := fmt.Sprintf("%s is in maintenance and out of the ack set; end that with: autopilot-mysql resume %s", o.Node, o.Node)
	switch {
	case former:
		said = fmt.Sprintf("%s is in maintenance already%s, since %s; end that with: autopilot-mysql resume %s", o.Node, p.Text(), p.At.UTC().Format(time.DateTime)+" UTC", o.Node)
	case o.DryRun:
		said = unchanged + o.Node + " leaves the ack set in order, is not offered to readers and never becomes primary; it follows on"
	case !o.Wait:
		said = o.Node + " is in maintenance; see in status when it is out of the ack set"
	}
	return say(inv, o.Output, said, map[string]any{"node": o.Node, "maintenance": p, "changed": !former && !o.DryRun})
}

func resumeNode(ctx context.Context, inv *cli.Invocation, d *operate.Desk, o cli.Resume) error {
	was, err := d.ResumeNode(ctx, o.Node)
	if err != nil {
		return err
	}
	said := o.Node + " is back in service: it joins the ack set and is offered to readers when it has caught up"
	switch {
	case !was:
		said = o.Node + " was not in maintenance"
	case o.DryRun:
		said = unchanged + said
	}
	return say(inv, o.Output, said, map[string]any{"node": o.Node, "changed": was && !o.DryRun})
}

func say(inv *cli.Invocation, o config.Output, said string, document any) error {
	if o.Output == "json" {
		return show.Document(inv.Stdout, document)
	}
	if _, err := fmt.Fprintln(inv.Stdout, said); err != nil {
		return fmt.Errorf("print outcome: %w", err)
	}
	return nil
}

func history(ctx context.Context, inv *cli.Invocation, o cli.History) error {
	d, end, err := desk(inv, &o.Common)
	if err != nil {
		return err
	}
	defer end()
	if o.Request != "" {
		answer, err := d.Show(ctx, o.Request)
		return answered(inv, o.Output, answer, err)
	}
	past, err := d.History(ctx, o.Limit)
	if err != nil {
		return err
	}
	if o.Output.Output == "json" {
		if past.Entries == nil {
			past.Entries = []cluster.HistoryEntry{}
		}
		return show.Document(inv.Stdout, past)
	}
	return show.History(inv.Stdout, past.Open, past.Entries)
}

func configSet(ctx context.Context, inv *cli.Invocation, o cli.ConfigSet) error {
	d, end, err := desk(inv, &o.Common)
	if err != nil {
		return err
	}
	defer end()
	d.DryRun = o.DryRun
	now, err := d.Set(ctx, o.Changes)
	if err != nil {
		return err
	}
	var parts []string
	for _, name := range config.Shared() {
		if v, ok := now[name]; ok {
			parts = append(parts, name+"="+v)
		}
	}
	said := "the cluster sets nothing; each node goes by what it was started with"
	if len(parts) > 0 {
		said = "for the whole cluster: " + strings.Join(parts, " ")
	}
	if o.DryRun {
		said = unchanged + said
	}
	return say(inv, o.Output, said, map[string]any{"settings": now})
}

func shared(ctx context.Context, inv *cli.Invocation, c *config.Common) (map[string]string, error) {
	d, end, err := desk(inv, c)
	if err != nil {
		return nil, err
	}
	defer end()
	return d.Shared(ctx)
}
