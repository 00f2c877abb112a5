package playground

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// The tests of this package are about processes, ports and files, so the nodes are processes of the test binary that only
// answer what a node answers (fakeRun). The cluster itself is tested with the real thing, in e2e.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "fake-run":
			os.Exit(fakeRun(os.Args[2:]))
		case "fake-worker":
			time.Sleep(10 * time.Minute) // a failed test leaves it behind, not for long
			os.Exit(0)
		case "fake-supervisor":
			os.Exit(fakeSupervisor(os.Args[2:]))
		}
	}
	goleak.VerifyTestMain(m)
}

// fakeRun is a node: guard and HTTP in this process, "agent" and "mysqld" as children. node1 is the primary unless the
// file D/fake-primary names another one.
func fakeRun(args []string) int {
	fs := flag.NewFlagSet("fake-run", flag.ExitOnError)
	f := map[string]*string{}
	for _, name := range []string{"name", "cluster", "service", "consul", "store", "datadir", "port", "bind", "advertise", "http", "mysqld", "lease", "acks", "run-as"} {
		f[name] = fs.String(name, "", "")
	}
	small := fs.Bool("small", false, "")
	exit := fs.Int("exit", 0, "")
	if err := fs.Parse(args); err != nil || !*small {
		return 2
	}
	if *exit != 0 {
		fmt.Println("the setting --exit is wrong")
		return *exit
	}
	if os.Getenv("MYSQL_REPL_PASSWORD") == "" || os.Getenv("MYSQL_PASSWORD") == "" {
		return 2
	}
	var pids [2]int
	for i, opt := range []string{"--datadir=", "--defaults-file="} {
		c := exec.Command(os.Args[0], "fake-worker", opt+filepath.Join(*f["datadir"], "run"))
		c.SysProcAttr = &syscall.SysProcAttr{}
		if err := c.Start(); err != nil {
			return 1
		}
		pids[i] = c.Process.Pid
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	view := func() Node {
		primary := "node1"
		if b, err := os.ReadFile(filepath.Join(filepath.Dir(*f["datadir"]), "..", "fake-primary")); err == nil {
			primary = string(b)
		}
		lag := 0.0
		n := Node{Name: *f["name"], State: "standby", Healthy: true, LagSeconds: &lag, Pids: Pids{Guard: os.Getpid(), Agent: pids[0], MySQL: pids[1]}}
		switch {
		case n.Name == primary:
			n.State = "primary"
		case n.Name > "node3":
			n.State = "replica"
		}
		return n
	}
	reply := func(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { reply(w, view()) })
	mux.HandleFunc("GET /cluster", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, Document{Cluster: *f["cluster"], Term: 7, Primary: "node1", AckSet: AckSet{Members: []string{"node1", "node2"}, Acks: 1}})
	})
	go func() { _ = http.ListenAndServe(*f["http"], mux) }()
	<-stop
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
		_, _ = syscall.Wait4(pid, nil, 0, nil)
	}
	return 0
}

// fakeSupervisor is `playground up` without the command line in front of it: dir, Consul's address, restart-after.
func fakeSupervisor(args []string) int {
	after, err := time.ParseDuration(args[2])
	if err != nil {
		return 2
	}
	o := Options{Dir: args[0], Consul: args[1], RestartAfter: &after, Mysqld: "unused", Command: []string{os.Args[0], "fake-run"}, NodeArgs: args[3:]}
	if err := supervise(signalContext(), o, limit, os.Stderr, func() error { return nil }); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// limit is how long tests wait for what takes moments on an idle machine.
const limit = 2 * time.Minute

// eventually waits generously for a condition that something else brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, limit, 10*time.Millisecond, what)
}
