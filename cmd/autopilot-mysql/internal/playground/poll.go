package playground

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// askTimeout bounds one question to a node on the same machine.
	askTimeout = time.Second
	// silence is how long a node may not answer before it counts as down: more than one lost question on a busy machine.
	silence = 2500 * time.Millisecond
	// maxAnswer bounds what is read of an answer.
	maxAnswer = 8 << 20
)

// client asks nodes. Its connections are not kept: a frozen node must not be met on an old one.
func client() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil}}
}

// ask gets one JSON document.
func ask(ctx context.Context, c *http.Client, url string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask %s: %s", url, resp.Status)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	return nil
}

// poll keeps the node's last answer.
func (n *node) poll(ctx context.Context) {
	c := client()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		n.askOnce(ctx, c)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (n *node) askOnce(ctx context.Context, c *http.Client) {
	n.mu.Lock()
	ch := n.proc
	n.mu.Unlock()
	if ch == nil {
		return
	}
	var answer Node
	err := ask(ctx, c, "http://"+n.spec.http()+"/status", &answer)
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.proc != ch {
		return // the answer is of a process that is gone
	}
	if err != nil {
		n.askErr = err.Error()
		return
	}
	changed := n.status.State != answer.State || n.status.Healthy != answer.Healthy || n.status.Pids != answer.Pids
	n.status, n.answered, n.askErr, n.lived = answer, time.Now(), "", true
	if changed {
		n.p.changed()
	}
}

// view is the node as playground.json shows it: its own words, corrected by what we know of its processes.
func (n *node) view() Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	v := Node{Name: n.spec.Name, State: "down", MySQL: n.spec.mysql(), HTTP: n.spec.http(), Datadir: n.p.lay.volume(n.spec.Name)}
	if n.proc == nil || !n.proc.running() {
		v.Reason = n.why
		return v
	}
	v.Pids.Guard = n.proc.id.Pid
	switch {
	case n.answered.IsZero():
		v.State, v.Reason = "init", "starting, does not answer yet"
	case time.Since(n.answered) > silence:
		v.Pids = n.status.Pids
		v.Pids.Guard = n.proc.id.Pid
		v.Reason = fmt.Sprintf("its process runs but has not answered for %v: %s", time.Since(n.answered).Round(time.Second), n.askErr)
	default:
		v = n.status
		v.Name, v.MySQL, v.HTTP, v.Datadir, v.Pids.Guard = n.spec.Name, n.spec.mysql(), n.spec.http(), n.p.lay.volume(n.spec.Name), n.proc.id.Pid
	}
	for _, pid := range []*int{&v.Pids.Agent, &v.Pids.MySQL} {
		if _, ok := identify(*pid); !ok {
			*pid = 0
		}
	}
	return v
}

// pollCluster keeps what the best informed node says about the whole: the primary, else anyone.
func (p *Playground) pollCluster(ctx context.Context) {
	c := client()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		p.askCluster(ctx, c)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (p *Playground) askCluster(ctx context.Context, c *http.Client) {
	var first, rest []Node
	for _, n := range p.all() {
		switch v := n.view(); v.State {
		case "primary":
			first = append(first, v)
		case "down":
		default:
			rest = append(rest, v)
		}
	}
	for _, v := range append(first, rest...) {
		var answer Document
		if err := ask(ctx, c, "http://"+v.HTTP+"/cluster", &answer); err != nil || answer.Cluster == "" {
			continue
		}
		p.mu.Lock()
		p.cluster = answer
		p.mu.Unlock()
		return
	}
}

// compose writes playground.json whenever something in it changed.
func (p *Playground) compose(ctx context.Context) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	records := newRecorder(p.lay)
	for {
		doc := p.document()
		records.note(p, doc)
		if err := p.publish(doc); err != nil {
			p.log.printf("%v", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-p.kick:
		case <-tick.C:
		}
	}
}

// publish makes doc the truth, on disk first: who sees it in memory finds it there. Nobody else publishes meanwhile.
func (p *Playground) publish(doc Document) error {
	p.mu.Lock()
	same := p.doc.equal(doc)
	p.mu.Unlock()
	var err error
	if !same {
		err = writeJSON(p.lay.document(), doc)
	}
	p.mu.Lock()
	p.doc = doc
	p.mu.Unlock()
	return err
}

// document combines the nodes' views with the cluster's.
func (p *Playground) document() Document {
	var views []Node
	for _, n := range p.all() {
		views = append(views, n.view())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	doc := p.cluster.clone()
	doc.Nodes = views
	doc.Cluster, doc.Consul, doc.Store = p.plan.Cluster, p.plan.consulAddr(), p.plan.Store
	s := p.plan.Secrets
	doc.MySQLUser, doc.MySQLPassword, doc.MySQLDatabase = s.User, s.Password, s.Database
	if doc.AckSet.Members == nil {
		doc.AckSet.Members = []string{}
	}
	doc.Primary = primaryOf(doc)
	return doc
}

// primaryOf is who is primary by its own word. The cluster's record may still name one that has just died.
func primaryOf(doc Document) string {
	if n, ok := doc.Node(doc.Primary); ok && n.State == "primary" {
		return n.Name
	}
	name := ""
	for _, n := range doc.Nodes {
		if n.State == "primary" {
			if name != "" {
				return "" // in the middle of a change: no guess
			}
			name = n.Name
		}
	}
	return name
}

// recorder keeps processes.json, by which `down` finds the processes when their supervisor is gone.
type recorder struct {
	lay  layout
	last []record
}

// record is one process of the playground.
type record struct {
	What string `json:"what"`
	procID
}

func newRecorder(lay layout) *recorder { return &recorder{lay: lay} }

func (r *recorder) note(p *Playground, doc Document) {
	var now []record
	add := func(what string, pid int) {
		if id, ok := identify(pid); ok {
			now = append(now, record{What: what, procID: id})
		}
	}
	p.mu.Lock()
	if p.consul != nil {
		add("consul", p.consul.pid())
	}
	p.mu.Unlock()
	for _, n := range doc.Nodes {
		add(n.Name+" guard", n.Pids.Guard)
		add(n.Name+" agent", n.Pids.Agent)
		add(n.Name+" mysqld", n.Pids.MySQL)
	}
	if fmt.Sprint(now) == fmt.Sprint(r.last) {
		return
	}
	if err := writeJSON(r.lay.file("processes.json"), now); err != nil {
		p.log.printf("%v", err)
		return
	}
	r.last = now
}

// lastView remembers lines shown, so that only changes are.
type lastView struct {
	mu   sync.Mutex
	line string
}

func (l *lastView) isNew(line string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	isNew := l.line != line
	l.line = line
	return isNew
}
