package e2e

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
)

// audit is what the page is judged with, inside of the browser.
//
//go:embed testdata/audit.js
var audit string

const (
	// pageLimit is within what the page shows a new primary that its node knows of.
	pageLimit = 2 * time.Second
	// screenshotLimit keeps the repository small, in bytes.
	screenshotLimit = 150 << 10
	browserLimit    = 8 * time.Minute
)

// page opens the page for people in a real browser: it shows the roles, follows a failover without a reload, says
// nothing on the console, asks nobody else, and can be read and used by everybody. It returns what was seen.
func page(t *testing.T) []string {
	b := harness.OpenBrowser(t, browserLimit)
	c := harness.Up(t, harness.Options{Nodes: 3, Lease: patientLease})
	d := c.WaitWhole(3)
	handsOver(t, c, "switchover", "--to", d.Others()[0].Name)
	c.WaitNewPrimary(d.Primary, d.Term) // the playground's document is a moment behind the command
	d = c.WaitWhole(3)
	watched := d.Others()[0]
	origin := "http://" + watched.HTTP
	b.Do(t, wide(), chromedp.Navigate(origin+"/"), chromedp.Evaluate(audit, nil), chromedp.Evaluate(partsJS, nil), chromedp.Evaluate("window.sameDocument = true", nil))
	for _, n := range d.Nodes {
		waitPage(t, b, n.Name+" is shown as "+n.State, fmt.Sprintf(`document.querySelector('[data-node=%q]')?.dataset.state === %q`, n.Name, n.State))
		placed(t, b, n.Name, n.State)
	}
	diagram(t, b)
	tiles(t, b)
	waitPage(t, b, "the write gap of the hand-over is drawn", `document.querySelectorAll('#gaps svg .chip').length > 0`)
	waitPage(t, b, "the history is there", `document.querySelectorAll('#history li .state').length > 0`)
	looks(t, b, "light", 1200)
	reads(t, b)
	tabs(t, b)
	b.Do(t, scheme("dark"))
	looks(t, b, "dark", 1200)
	b.Do(t, scheme("light"), narrow())
	looks(t, b, "phone", 390)
	diagram(t, b)
	b.Do(t, wide())
	lagPlot(t, b, c)

	d = c.WaitWhole(3)
	c.Kill(d.Primary)
	known := waitKnown(t, watched, d.Primary)
	waitPage(t, b, "the page shows "+known+" as the primary", fmt.Sprintf(`document.querySelector('[data-state=primary]')?.dataset.node === %q`, known))
	placed(t, b, known, "primary")
	require.True(t, harness.Ask[bool](t, b, "window.sameDocument === true"), "the page was loaded again")
	looks(t, b, "failover", 1200)
	diagram(t, b)

	delay := time.Duration(harness.Ask[float64](t, b, "window.audit.delay(`"+known+"`)") * float64(time.Millisecond))
	t.Logf("the page showed the new primary %v after its node said so", delay.Round(time.Millisecond))
	require.LessOrEqual(t, delay, pageLimit)
	after := c.WaitWhole(3)
	gapPlot(t, b, d, after)
	for _, n := range after.Nodes {
		placed(t, b, n.Name, n.State)
	}
	tiles(t, b)
	require.Empty(t, b.Errors(), "on the console")
	require.Empty(t, b.Outside(origin), "requests to others")
	return []string{
		"each node is drawn in its state's place of the diagram, with every transition as an arrow, on a wide and on a narrow screen, before and after a failover",
		fmt.Sprintf("the line of a follower that could not apply rose in the plot of the lag beyond %v s, the other's did not", visibleLag),
		"the hand-over and the failover each have their bar in the plot of the write gaps, the failover's is the higher and names its phases",
		"the tiles for term, lease, acknowledgements, snapshot and archive say what the node answers",
		fmt.Sprintf("a failover is followed without a reload, within %v of the node knowing of it (%v)", pageLimit, delay.Round(time.Millisecond)),
		"contrast of at least 4.5 : 1 in light, dark and on a phone; names for a screen reader; everything reached with the tabulator; nothing on the console, no request to others",
	}
}

// waitPage waits until an expression is true in the page.
func waitPage(t *testing.T, b *harness.Browser, what, expression string) {
	t.Helper()
	for deadline := time.Now().Add(harness.FailoverLimit); !harness.Ask[bool](t, b, expression); time.Sleep(50 * time.Millisecond) {
		require.Truef(t, time.Now().Before(deadline), "%s: not within %v", what, harness.FailoverLimit)
	}
}

// waitKnown waits until the watched node itself says who the new primary is.
func waitKnown(t *testing.T, watched harness.Node, old string) string {
	t.Helper()
	for deadline := time.Now().Add(harness.FailoverLimit); ; time.Sleep(50 * time.Millisecond) {
		if d, err := clusterOf(watched); err == nil && d.Primary != "" && d.Primary != old {
			return d.Primary
		}
		require.True(t, time.Now().Before(deadline), "no new primary")
	}
}

func clusterOf(n harness.Node) (d harness.Document, err error) {
	client := http.Client{Timeout: 5 * time.Second}
	r, err := client.Get("http://" + n.HTTP + "/cluster")
	if err != nil {
		return d, err
	}
	defer r.Body.Close()
	return d, json.NewDecoder(r.Body).Decode(&d)
}

func scheme(name string) chromedp.Action {
	return emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}})
}

// looks checks what depends on the colours and the size, and writes the picture if SCREENSHOTS names a directory.
func looks(t *testing.T, b *harness.Browser, name string, width int) {
	t.Helper()
	time.Sleep(1500 * time.Millisecond) // one turn of the page and its transitions, so that what is judged is what is seen
	require.Empty(t, harness.Ask[[]string](t, b, "window.audit.contrast()"), "%s: less contrast than 4.5 : 1", name)
	require.LessOrEqual(t, harness.Ask[int](t, b, "document.documentElement.scrollWidth"), width, "%s: wider than the screen", name)
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	var png []byte
	b.Do(t, chromedp.FullScreenshot(&png, 100))
	png, err := harness.SmallPNG(png)
	require.NoError(t, err)
	require.LessOrEqual(t, len(png), screenshotLimit)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "page-"+name+".png"), png, 0o644))
}

// reads checks what a screen reader needs.
func reads(t *testing.T, b *harness.Browser) {
	t.Helper()
	require.Empty(t, harness.Ask[[]string](t, b, "window.audit.names()"))
}

// tabs goes through the page with the tabulator only.
func tabs(t *testing.T, b *harness.Browser) {
	t.Helper()
	var seen []string
	for range 30 {
		b.Do(t, chromedp.KeyEvent(kb.Tab))
		at := harness.Ask[[]string](t, b, "window.audit.focused()") // its name, and "" or why it cannot be seen
		if at[0] == "" {
			break
		}
		require.Empty(t, at[1], at[0])
		seen = append(seen, at[0])
	}
	require.Contains(t, seen[0], "#main", "first the way past the header")
	for _, want := range harness.Ask[[]string](t, b, "window.audit.reachable()") {
		require.Contains(t, seen, want)
	}
}
