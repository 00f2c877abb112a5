package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// moment is when a terminal is killed: its command has sent what changes something, and Consul has not had it yet, or has
// done it and the answer has not come back.
type moment bool

const (
	beforeWrite moment = false
	afterWrite  moment = true
)

func (m moment) String() string {
	return map[moment]string{beforeWrite: "before", afterWrite: "after"}[m] + " the write"
}

// killedAt gives an order, kills its command at that moment, and demands that this is what ended it. An order that a guard
// refuses for now, because a node is not ready yet, is given again.
func killedAt(t *testing.T, d harness.Document, m moment, args ...string) {
	t.Helper()
	consul, err := url.Parse("http://" + d.Consul)
	require.NoError(t, err)
	reached := make(chan error, 1)
	through := httputil.NewSingleHostReverseProxy(consul)
	gate := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPut {
			through.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err == nil && m == afterWrite {
			err = forward(r, consul, body)
		}
		reached <- err
		<-r.Context().Done() // its command is gone
	}))
	defer gate.Close()
	waitFor(t, strings.Join(args, " ")+" to be killed "+m.String(), func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
		defer cancel()
		cmd := operatorCommand(ctx, t, d, args...)
		cmd.Env = append(cmd.Env, "CONSUL_HTTP_ADDR="+gate.Listener.Addr().String())
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		require.NoError(t, cmd.Start())
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait() // its exit code tells
			close(ended)
		}()
		select {
		case err := <-reached:
			require.NoError(t, err)
			require.NoError(t, cmd.Process.Kill())
			<-ended
			require.Equalf(t, -1, cmd.ProcessState.ExitCode(), "%v was to be killed: %s%s", args, &out, &errs)
			require.Empty(t, out.String())
			return true
		case <-ended:
			require.Equalf(t, 3, cmd.ProcessState.ExitCode(), "%v: %s%s", args, &out, &errs)
			return false
		}
	})
}

// forward passes a request on to its end, whatever becomes of its sender.
func forward(r *http.Request, to *url.URL, body []byte) error {
	req, err := http.NewRequestWithContext(context.WithoutCancel(r.Context()), r.Method, to.JoinPath(r.URL.Path).String()+"?"+r.URL.RawQuery, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return err
}

// killedRecords kills orders that write one record, before they wrote it and afterwards: it is written whole, with its line
// in the history, or not at all.
func killedRecords(t *testing.T, c *harness.Cluster) {
	d := c.WaitWhole(3)
	node := d.Others()[0].Name
	status := func(words string) bool { return strings.Contains(works(t, d, "status"), words) }
	paused := func() bool { return status("paused by tester@") }
	away := func() bool { return status(node + " is in maintenance by tester@") }
	set := func() bool {
		return strings.Contains(strings.Join(strings.Fields(works(t, d, "config", "show")), " "), "failovers-per-hour 33 cluster")
	}
	not := func(f func() bool) func() bool { return func() bool { return !f() } }
	for _, o := range []struct {
		args    []string
		kind    string
		inForce func() bool
	}{
		{[]string{"config", "set", "failovers-per-hour=33"}, "settings", set},
		{[]string{"config", "set", "failovers-per-hour="}, "settings", not(set)},
		{[]string{"pause"}, "pause", paused},
		{[]string{"resume"}, "resume", not(paused)},
		{[]string{"pause", node}, "pause", away},
		{[]string{"resume", node}, "resume", not(away)},
	} {
		told := func() (n int) {
			for _, e := range historyOf(t, d).History {
				if e.Kind == o.kind {
					n++
				}
			}
			return n
		}
		before := told()
		require.False(t, o.inForce(), "%v", o.args)
		killedAt(t, d, beforeWrite, o.args...)
		require.False(t, o.inForce(), "%v, killed before it was written", o.args)
		require.Equal(t, before, told(), "%v, killed before it was written", o.args)
		killedAt(t, d, afterWrite, o.args...)
		require.True(t, o.inForce(), "%v, killed after it was written", o.args)
		require.Equal(t, before+1, told(), "%v, killed after it was written", o.args)
	}
}

// killedRequests kills terminals that asked the cluster for something and never learnt under which name: what was not
// written never happens, what was is carried out, and is found in the history.
func killedRequests(t *testing.T, c *harness.Cluster) {
	d := c.WaitWhole(3)
	ended := func() map[string]string {
		states := map[string]string{}
		for _, e := range historyOf(t, d).History {
			if e.Kind == "request" && strings.HasPrefix(e.Why, "switchover") {
				states[e.Request] = e.State
			}
		}
		return states
	}
	before := ended()
	killedAt(t, d, beforeWrite, "switchover")
	require.Empty(t, historyOf(t, d).Open)
	require.Equal(t, before, ended())
	for try := 1; ; try++ {
		before = ended()
		killedAt(t, d, afterWrite, "switchover")
		state := ""
		waitFor(t, "the end of what the killed terminal asked for", func() bool {
			for id, s := range ended() {
				if _, old := before[id]; !old {
					state = s
				}
			}
			return state != ""
		})
		if state == "done" {
			break
		}
		require.Less(t, try, maxHandOvers, "a starved machine may not get it done in time: %s", state)
		c.WaitWhole(3)
	}
	require.NotEqual(t, d.Primary, c.WaitNewPrimary(d.Primary, d.Term).Primary)
}
