package harness

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// MonitoringTool finds a program that the tests of what people and monitoring see need; `make monitoring` installs them.
func MonitoringTool(t testing.TB, name string) string {
	t.Helper()
	if os.Getenv("AUTOPILOT_TEST_MONITORING") == "" {
		t.Skip("make monitoring runs it")
	}
	path, err := exec.LookPath(name)
	require.NoErrorf(t, err, "make monitoring installs it on Debian; elsewhere put %s on the PATH", name)
	return path
}

// Browser is one tab of a headless Chromium, and what went wrong in it.
type Browser struct {
	Ctx context.Context

	mu        sync.Mutex
	errors    []string
	requested []string
}

// OpenBrowser starts one that ends with the test.
func OpenBrowser(t testing.TB, limit time.Duration) *Browser {
	t.Helper()
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(MonitoringTool(t, "chromium")),
		chromedp.NoSandbox, chromedp.WSURLReadTimeout(2*time.Minute), chromedp.UserDataDir(t.TempDir()))
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	ctx, cancelAll := chromedp.NewExecAllocator(ctx, options...)
	ctx, cancelTab := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		_ = chromedp.Cancel(ctx) // waits for the process
		cancelTab()
		cancelAll()
	})
	b := &Browser{Ctx: ctx}
	chromedp.ListenTarget(ctx, b.hear)
	b.Do(t, network.Enable(), log.Enable(), runtime.Enable())
	return b
}

func (b *Browser) hear(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.errors = append(b.errors, e.ExceptionDetails.Error())
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.APITypeError || e.Type == runtime.APITypeWarning {
			for _, a := range e.Args {
				b.errors = append(b.errors, string(a.Value)+a.Description)
			}
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.LevelError || e.Entry.Level == log.LevelWarning {
			b.errors = append(b.errors, e.Entry.Text+" "+e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		b.requested = append(b.requested, e.Request.URL)
	}
}

// Errors is what the console has said.
func (b *Browser) Errors() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.errors)
}

// Outside are the requests that went elsewhere than to origin.
func (b *Browser) Outside(origin string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(b.requested), func(url string) bool {
		return strings.HasPrefix(url, origin+"/") || strings.HasPrefix(url, "data:")
	})
}

// Do runs actions in the tab.
func (b *Browser) Do(t testing.TB, actions ...chromedp.Action) {
	t.Helper()
	require.NoError(t, chromedp.Run(b.Ctx, actions...))
}

// Ask evaluates an expression in the page.
func Ask[T any](t testing.TB, b *Browser, expression string) T {
	t.Helper()
	var out T
	b.Do(t, chromedp.Evaluate(expression, &out, chromedp.EvalAsValue))
	return out
}
