package bench

import (
	"fmt"
	"math"
	"strings"
)

// ratio is how one quantity relates to another that was measured beside it, pair by pair: the geometric mean of the pairs'
// ratios, and Student's 95 % interval of it. It is reckoned in logarithms, in which twice as much and half as much are
// equally far from the same.
type ratio struct {
	Name  string  `json:"name"`
	Pairs int     `json:"pairs"`
	Mean  float64 `json:"mean"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	// Target is the least it should be. Verdict is what the interval says about that.
	Target  float64 `json:"target"`
	Verdict string  `json:"verdict"`
}

// tQuantile are the 97.5 % quantiles of Student's distribution by degrees of freedom, from 1 on.
var tQuantile = [...]float64{12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
	2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042}

func student(freedom int) float64 {
	if freedom < 1 {
		return math.NaN()
	}
	return tQuantile[min(freedom, len(tQuantile))-1] // beyond the table a little too wide
}

// least is what the ratio should be at least: product and servers together do 99 % of the work of the servers alone.
const least = 0.99

// compare makes the ratio of pairs with/without.
func compare(name string, with, without []float64) ratio {
	r := ratio{Name: name, Pairs: min(len(with), len(without)), Target: least}
	logs := make([]float64, r.Pairs)
	for i := range logs {
		logs[i] = math.Log(with[i] / without[i])
	}
	mean, half := interval(logs)
	r.Mean, r.Low, r.High = math.Exp(mean), math.Exp(mean-half), math.Exp(mean+half)
	switch {
	case r.Pairs < 2 || math.IsNaN(half):
		r.Low, r.High, r.Verdict = 0, 0, "nothing: too few pairs"
	case r.Low >= least:
		r.Verdict = fmt.Sprintf("at least %v is shown", least)
	case r.High < least:
		r.Verdict = fmt.Sprintf("**missed**: less than %v is shown", least)
	default:
		r.Verdict = fmt.Sprintf("not decided: the interval holds %v", least)
	}
	if math.IsNaN(r.Mean) {
		r.Mean = 0 // JSON knows no NaN
	}
	return r
}

// interval is the mean of values and half the width of its 95 % interval.
func interval(values []float64) (mean, half float64) {
	n := float64(len(values))
	for _, v := range values {
		mean += v / n
	}
	var square float64
	for _, v := range values {
		square += (v - mean) * (v - mean)
	}
	return mean, student(len(values)-1) * math.Sqrt(square/(n-1)/n)
}

func (r ratio) String() string {
	return fmt.Sprintf("%s: %.4f (95 %% interval %.4f to %.4f, %d pairs): %s", r.Name, r.Mean, r.Low, r.High, r.Pairs, r.Verdict)
}

// grid is something that is read side by side.
type grid struct {
	Head []string   `json:"head"`
	Rows [][]string `json:"rows"`
}

func (t grid) lines() string {
	out := "\n| " + strings.Join(t.Head, " | ") + " |\n|"
	for range t.Head {
		out += "---|"
	}
	out += "\n"
	for _, row := range t.Rows {
		out += "| " + strings.Join(row, " | ") + " |\n"
	}
	return out
}
