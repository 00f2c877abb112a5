package e2e

import (
	_ "embed"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/harness"
	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/load"
)

// partsJS asks the page what it draws, inside of the browser.
//
//go:embed testdata/parts.js
var partsJS string

// visibleLag is how far, in seconds, a follower that cannot apply is let fall behind.
const visibleLag = 2.0

// lagLine is one follower's line in the plot of the lag.
type lagLine struct {
	Points int
	High   float64 // s
}

// gapBar is one bar in the plot of the write gaps.
type gapBar struct {
	Says string
	High float64 // pixels
}

// diagram demands that each node is drawn in the box of its state, on a wide screen and on a narrow one, and every
// transition as an arrow.
func diagram(t *testing.T, b *harness.Browser) {
	t.Helper()
	arrows := harness.Ask[[]int](t, b, "window.parts.arrows()")
	require.Equal(t, arrows[1], arrows[0], "arrows")
	require.Greater(t, arrows[0], 6)
	require.Empty(t, harness.Ask[[]string](t, b, "window.parts.misplaced()"))
}

// placed waits until a node is drawn in the place of a state.
func placed(t *testing.T, b *harness.Browser, node, state string) {
	t.Helper()
	waitPage(t, b, node+" is drawn as "+state, fmt.Sprintf("window.parts.placeOf(%q) === %q", node, state))
}

// tiles demands that the tiles say what the last answer says.
func tiles(t *testing.T, b *harness.Browser) {
	t.Helper()
	waitPage(t, b, "there is a snapshot, and the archive has begun", "window.parts.tiles().Snapshot?.includes('old') && window.parts.tiles().Archive?.includes('behind')")
	require.Empty(t, harness.Ask[[]string](t, b, "window.parts.wrongTiles()"))
}

// lagPlot holds one follower up under writers and demands that its line rises, and only its.
func lagPlot(t *testing.T, b *harness.Browser, c *harness.Cluster) {
	t.Helper()
	d := c.WaitWhole(3)
	behind, other := d.Others()[0].Name, d.Others()[1].Name
	w := load.Start(t, c)
	release := c.Hold(behind, "LOCK TABLES `"+d.Database+"`.`"+load.Table+"` READ")
	waitPage(t, b, behind+"'s line rises", fmt.Sprintf("window.parts.lag()[%q]?.high >= %v", behind, visibleLag))
	lines := harness.Ask[map[string]lagLine](t, b, "window.parts.lag()")
	release()
	require.Greater(t, lines[behind].Points, 5)
	require.Greater(t, lines[other].Points, 5)
	require.Less(t, lines[other].High, lines[behind].High)
	c.WaitWhole(3)
	w.Verify(c)
}

// gapPlot demands a bar for the hand-over of one term and the failover of a later one, the failover's the higher.
func gapPlot(t *testing.T, b *harness.Browser, planned, failedOver harness.Document) {
	t.Helper()
	waitPage(t, b, "the write gap of the failover is drawn", fmt.Sprintf(`window.parts.gaps()[%d] !== undefined`, failedOver.Term))
	bars := harness.Ask[map[uint64]gapBar](t, b, "window.parts.gaps()")
	require.True(t, strings.HasPrefix(bars[planned.Term].Says, fmt.Sprintf("term %d: %s, planned, ", planned.Term, planned.Primary)), bars)
	require.True(t, strings.HasPrefix(bars[failedOver.Term].Says, fmt.Sprintf("term %d: %s, failover, ", failedOver.Term, failedOver.Primary)), bars)
	for _, phase := range []string{"detect ", "seal ", "open "} {
		require.Contains(t, bars[failedOver.Term].Says, phase)
	}
	require.Greater(t, bars[planned.Term].High, 1.0)
	require.Greater(t, bars[failedOver.Term].High, bars[planned.Term].High, "milliseconds and seconds")
}

// narrow is the page on a phone, wide on a desk.
func narrow() chromedp.Action {
	return chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile)
}

func wide() chromedp.Action { return chromedp.EmulateViewport(1200, 900) }
