package harness

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Query is one query of the published dashboard, with Grafana's variables replaced by what they are in a test.
type Query struct {
	Panel, Expr string
	Labels      []string // that the legend names
}

// DashboardQueries reads them.
func DashboardQueries(t testing.TB) []Query {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "docs", "monitoring", "dashboard.json"))
	require.NoError(t, err)
	type panel struct {
		Title   string
		Type    string
		Targets []struct{ Expr, LegendFormat string }
		Panels  []panel
	}
	var board panel
	require.NoError(t, json.Unmarshal(b, &board))
	variables := strings.NewReplacer("$job", prometheusJob, "$__rate_interval", "10s")
	var queries []Query
	var walk func([]panel)
	walk = func(panels []panel) {
		for _, p := range panels {
			require.True(t, p.Type == "row" || len(p.Targets) > 0, "panel %s asks nothing", p.Title)
			for _, target := range p.Targets {
				q := Query{Panel: p.Title, Expr: variables.Replace(target.Expr)}
				require.NotContains(t, q.Expr, "$", "a variable that nobody replaced")
				for _, m := range regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`).FindAllStringSubmatch(target.LegendFormat, -1) {
					q.Labels = append(q.Labels, m[1])
				}
				queries = append(queries, q)
			}
			walk(p.Panels)
		}
	}
	walk(board.Panels)
	return queries
}

// Series is one series of an answer, at one moment.
type Series struct {
	Labels map[string]string
	Value  float64
}

// Ask evaluates an expression now.
func (p *Prometheus) Ask(expr string) ([]Series, error) {
	data, err := p.query("/api/v1/query?query=" + url.QueryEscape(expr))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any // when, and a number as text
		}
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return nil, err
	}
	var all []Series
	for _, r := range answer.Result {
		text, _ := r.Value[1].(string)
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, err
		}
		all = append(all, Series{Labels: r.Metric, Value: value})
	}
	return all, nil
}
