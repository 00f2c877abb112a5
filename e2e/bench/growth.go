package bench

import (
	"fmt"
	"math"
)

// growth is how one quantity developed over a run.
type growth struct {
	Name string `json:"name"`
	Unit string `json:"unit"`
	// First and Last are the means of the first and the last twelfth of the run, its beginning left out.
	First   float64 `json:"first"`
	Last    float64 `json:"last"`
	PerHour float64 `json:"per_hour"`
	// Half is half the width of the 95 % interval of PerHour.
	Half    float64 `json:"half"`
	Verdict string  `json:"verdict"`
}

const (
	// growthBlocks is how many means the line is drawn through: neighbouring samples resemble each other, means of many
	// much less, so that the interval is believable.
	growthBlocks = 12
	// warmUp is the part of a run that is left out, and warmUpLeast how many seconds at least: caches fill and pools open, once.
	warmUp, warmUpLeast = 0.1, 180
	// noticeable is the growth within an hour, as a part of the quantity, below which a slope is called none however sure it is.
	noticeable = 0.02
)

// grows fits a line to samples taken every so many seconds.
func grows(name, unit string, samples []float64, every float64) growth {
	g := growth{Name: name, Unit: unit}
	samples = samples[min(max(int(warmUp*float64(len(samples))), int(warmUpLeast/every)), len(samples)):]
	size := len(samples) / growthBlocks
	if size < 1 {
		g.Verdict = "nothing: too short"
		return g
	}
	var at, means []float64
	for i := range growthBlocks {
		mean := 0.0
		for _, v := range samples[i*size : (i+1)*size] {
			mean += v / float64(size)
		}
		at, means = append(at, (float64(i)+0.5)*float64(size)*every/3600), append(means, mean)
	}
	g.First, g.Last = means[0], means[growthBlocks-1]
	g.PerHour, g.Half = slope(at, means)
	switch middle := (g.First + g.Last) / 2; {
	case g.PerHour-g.Half > noticeable*middle:
		g.Verdict = "**grows**"
	case g.PerHour+g.Half > noticeable*middle && g.PerHour > 0:
		g.Verdict = fmt.Sprintf("not decided: growth by more than %.0f %% an hour is not ruled out", 100*noticeable)
	default:
		g.Verdict = "no growth"
	}
	return g
}

// slope is the least-squares line's, and half the width of its 95 % interval.
func slope(x, y []float64) (b, half float64) {
	n := float64(len(x))
	var mx, my, sxx, sxy, rest float64
	for i := range x {
		mx, my = mx+x[i]/n, my+y[i]/n
	}
	for i := range x {
		sxx += (x[i] - mx) * (x[i] - mx)
		sxy += (x[i] - mx) * (y[i] - my)
	}
	b = sxy / sxx
	for i := range x {
		d := y[i] - my - b*(x[i]-mx)
		rest += d * d
	}
	return b, student(len(x)-2) * math.Sqrt(rest/(n-2)/sxx)
}

// growths is the table of what was watched over a run.
func growths(all []growth) *grid {
	t := &grid{Head: []string{"what", "unit", "at the beginning", "at the end", "an hour", "95 % interval", "verdict"}}
	for _, g := range all {
		t.Rows = append(t.Rows, []string{g.Name, g.Unit, number(g.First), number(g.Last), fmt.Sprintf("%+.3g", g.PerHour), fmt.Sprintf("± %.2g", g.Half), g.Verdict})
	}
	return t
}
