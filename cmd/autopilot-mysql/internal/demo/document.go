package demo

import (
	"encoding/json"
	"fmt"
	"io"
)

// result is what a performance came to, for tools. Error is there when it was not played to its end, or a check failed.
type result struct {
	OK              bool    `json:"ok"`
	Checks          []check `json:"checks"`
	Acknowledged    int     `json:"acknowledged"`
	Refused         int     `json:"refused_or_unknown"`
	WriteGapSeconds float64 `json:"write_gap_seconds"` // of the failover
	Seconds         float64 `json:"seconds"`
	Error           string  `json:"error,omitempty"`
}

// document prints the result of a performance that ended with err.
func (d *demo) document(w io.Writer, err error) error {
	r := result{OK: err == nil, Checks: append([]check{}, d.checks...), WriteGapSeconds: d.gap.Seconds(), Seconds: d.took.Seconds()}
	if d.books != nil {
		r.Acknowledged, r.Refused = d.books.count(), d.books.failures()
	}
	if err != nil {
		r.Error = err.Error()
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("print result: %w", err)
	}
	return nil
}
