package bench

import (
	"cmp"
	"fmt"
	"html"
	"math"
	"strings"
)

// Sizes of a plot, in pixels.
const (
	plotLeft, plotWidth, plotRow, plotTop = 330, 520, 24, 34
)

// plotted is the unit whose series are drawn: milliseconds where there are any, and otherwise what most series have.
func plotted(r result) (unit string) {
	count := map[string]int{}
	for _, s := range r.Series {
		if len(s.Values) == 0 {
			continue
		}
		if s.Unit == "ms" {
			return s.Unit
		}
		if count[s.Unit]++; count[s.Unit] > count[unit] {
			unit = s.Unit
		}
	}
	return unit
}

// plot draws every value of the series in one unit as a dot on a logarithmic axis, with the median as a bar and the
// target as a dashed line; samples over time are lines.
func plot(r result) string {
	if r.Every > 0 {
		return plotTime(r)
	}
	var rows []*series
	unit := plotted(r)
	low, high := math.Inf(1), math.Inf(-1)
	for _, s := range r.Series {
		if s.Unit != unit || len(s.Values) == 0 {
			continue
		}
		rows = append(rows, s)
		for _, v := range append([]float64{s.Target}, s.Values...) {
			if v > 0 {
				low, high = min(low, v), max(high, v)
			}
		}
	}
	var b strings.Builder
	height := plotTop + plotRow*len(rows) + 30
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", plotLeft+plotWidth+40, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="8" y="18" font-weight="bold">%s</text>`+"\n", html.EscapeString(r.Name+": "+cmp.Or(map[string]string{"ms": "milliseconds"}[unit], unit)+", each run a dot, the median a bar"))
	if len(rows) == 0 {
		return b.String() + "</svg>\n"
	}
	from, to := math.Floor(math.Log10(max(low, 0.01))), math.Ceil(math.Log10(max(high, 0.1)))
	x := func(v float64) float64 {
		return plotLeft + plotWidth*(math.Log10(max(v, math.Pow(10, from)))-from)/max(to-from, 1)
	}
	for e := from; e <= to; e++ {
		at := x(math.Pow(10, e))
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#ddd"/><text x="%.1f" y="%d" text-anchor="middle" fill="#666">%s</text>`+"\n",
			at, plotTop-6, at, height-24, at, height-8, number(math.Pow(10, e)))
	}
	for i, s := range rows {
		y := float64(plotTop + plotRow*i + plotRow/2)
		fmt.Fprintf(&b, `<text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", plotLeft-8, y+4, html.EscapeString(s.Name))
		if s.Target > 0 {
			fmt.Fprintf(&b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#c00" stroke-dasharray="3 2"/>`+"\n", x(s.Target), y-10, x(s.Target), y+10)
		}
		for _, v := range s.Values {
			fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="#26c" fill-opacity="0.45"/>`+"\n", x(v), y)
		}
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="black" stroke-width="2"/>`+"\n", x(s.median()), y-8, x(s.median()), y+8)
	}
	return b.String() + "</svg>\n"
}
