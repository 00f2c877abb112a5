package bench

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// series are the values of one quantity over repeated runs.
type series struct {
	Name   string    `json:"name"`
	Unit   string    `json:"unit"`
	Values []float64 `json:"values"`
	// Target is what product.md asks of the median; 0 for none. AtLeast turns it round.
	Target  float64 `json:"target,omitempty"`
	AtLeast bool    `json:"at_least,omitempty"`
}

func (s *series) add(v float64)          { s.Values = append(s.Values, v) }
func (s *series) took(d time.Duration)   { s.add(ms(d)) }
func ms(d time.Duration) float64         { return float64(d.Microseconds()) / 1000 }
func (s series) sorted() (out []float64) { out = slices.Clone(s.Values); slices.Sort(out); return out }
func (s series) met() bool               { return (s.median() <= s.Target) != s.AtLeast || s.median() == s.Target }
func (s series) least() (v float64)      { return s.quantile(0) }
func (s series) most() (v float64)       { return s.quantile(1) }
func (s series) median() float64         { return s.quantile(0.5) }
func (s series) quantile(q float64) float64 {
	v := s.sorted()
	if len(v) == 0 {
		return math.NaN()
	}
	at := q * float64(len(v)-1)
	low := int(at)
	if low+1 >= len(v) {
		return v[len(v)-1]
	}
	return v[low] + (at-float64(low))*(v[low+1]-v[low])
}

// row is the series as a line of a table: name, median, least, most, runs, target.
func (s series) row() string {
	target := "-"
	switch {
	case s.Target != 0 && s.AtLeast:
		target = fmt.Sprintf("≥ %s", number(s.Target))
	case s.Target != 0:
		target = fmt.Sprintf("≤ %s", number(s.Target))
	}
	if s.Target != 0 && len(s.Values) > 0 {
		target += map[bool]string{true: " met", false: " **missed**"}[s.met()]
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %d | %s | %s |", s.Name, number(s.median()), number(s.least()), number(s.most()), len(s.Values), s.Unit, target)
}

func number(v float64) string {
	switch {
	case math.IsNaN(v):
		return "-"
	case math.Abs(v) >= 100 || v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	case math.Abs(v) >= 1:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
