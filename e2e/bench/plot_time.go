package bench

import (
	"fmt"
	"html"
	"strings"
)

// Sizes of a plot over time, in pixels.
const timeRow, timeLine = 64, 40

// plotTime draws each series over time in a row of its own, from zero to its most.
func plotTime(r result) string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", plotLeft+plotWidth+40, plotTop+timeRow*len(r.Series)+10)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="8" y="18" font-weight="bold">%s</text>`+"\n", html.EscapeString(r.Name+": over time, from zero to the most"))
	for i, s := range r.Series {
		foot := float64(plotTop + timeRow*i + timeLine)
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", plotLeft-8, foot-timeLine/2, html.EscapeString(strings.TrimSpace(s.Name+", at most "+number(s.most())+" "+s.Unit)))
		fmt.Fprintf(&b, `<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="#ddd"/><polyline fill="none" stroke="#26c" points="`, plotLeft, foot, plotLeft+plotWidth, foot)
		for at, v := range s.Values {
			fmt.Fprintf(&b, "%.1f,%.1f ", plotLeft+plotWidth*float64(at)/float64(max(len(s.Values)-1, 1)), foot-timeLine*v/max(s.most(), 1e-9))
		}
		b.WriteString(`"/>` + "\n")
	}
	return b.String() + "</svg>\n"
}
