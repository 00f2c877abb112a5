package engine

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func rendered(t *testing.T, format string, spec doorSpec) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, Write(&b, format, spec))
	return b.String()
}

func TestWriteTable(t *testing.T) {
	require.Equal(t, `door: starts in open

FROM                   EVENT      TO         GUARD   ACTION  WHY
open                   push       closed     -       yes     pushed shut
closed                 pull       open       -       -       pulled open
closed                 turn       locked-up  hasKey  bolt    key turned
locked-up              turn       closed     hasKey  -       key turned back
open,closed,locked-up  emergency  open       -       -       fire alarm

IN                IGNORES  WHY
closed,locked-up  push     a shut door does not move
open,locked-up    pull     nothing to pull
open              turn     no lock in reach
`, rendered(t, "table", newSpec()))
}

func TestWriteMermaid(t *testing.T) {
	require.Equal(t, `stateDiagram-v2
    state "locked-up" as locked_up
    [*] --> open
    open --> closed: push<br/>pushed shut
    closed --> open: pull<br/>pulled open
    closed --> locked_up: turn [hasKey]<br/>key turned
    locked_up --> closed: turn [hasKey]<br/>key turned back
    open --> open: emergency<br/>fire alarm
    closed --> open: emergency<br/>fire alarm
    locked_up --> open: emergency<br/>fire alarm
`, rendered(t, "mermaid", newSpec()))
}

func TestMermaidIDsAreReadableAndDistinct(t *testing.T) {
	require.Equal(t, map[string]string{"a": "a", "a_b": "a_b", "a-b": "a_b_", "end": "end_", "end-": "end__"},
		mermaidIDs([]string{"a-b", "a", "a_b", "end", "end-"}))
}

func TestMermaidTextHidesWhatEndsALabel(t *testing.T) {
	require.Equal(t, "lease#58; 3 s#59; #35;1 #60;b#62; #34;x#34; y", mermaidText("lease: 3 s; #1 <b> \"x\"\ny"))
}

func TestWriteDOT(t *testing.T) {
	spec := newSpec()
	spec.Rules = spec.Rules[:3]
	spec.Rules[0].Why = `said "shut" \o/`
	require.Equal(t, `digraph "door" {
	rankdir=LR;
	node [shape=box, style=rounded];
	"(start)" [shape=point];
	"(start)" -> "open";
	"open";
	"closed";
	"locked-up";
	"open" -> "closed" [label="push\nsaid \"shut\" \\o/"];
	"closed" -> "open" [label="pull\npulled open"];
	"closed" -> "locked-up" [label="turn [hasKey]\nkey turned"];
}
`, rendered(t, "dot", spec))
}

func TestWriteJSON(t *testing.T) {
	text := rendered(t, "json", newSpec())
	var doc document
	require.NoError(t, json.Unmarshal([]byte(text), &doc))
	require.Equal(t, "door", doc.Name)
	require.Equal(t, "open", doc.Initial)
	require.Equal(t, []string{"open", "closed", "locked-up"}, doc.States)
	require.Equal(t, []string{"push", "pull", "turn", "emergency"}, doc.Events)
	require.Len(t, doc.Rules, 5)
	require.Equal(t, ruleDoc{[]string{"closed"}, "turn", "locked-up", "hasKey", "bolt", "key turned"}, doc.Rules[2])
	require.Len(t, doc.Ignored, 5)
	require.Equal(t, ignoredDoc{"closed", "push", "a shut door does not move"}, doc.Ignored[0])
}

func TestWriteJSONOfAnEmptyTableHasListsNotNull(t *testing.T) {
	require.NotContains(t, rendered(t, "json", doorSpec{}), "null")
}

func TestWriteKnowsItsFormats(t *testing.T) {
	for _, format := range Formats() {
		first := rendered(t, format, newSpec())
		for range 10 { // a walk over a map would show itself
			require.Equal(t, first, rendered(t, format, newSpec()))
		}
	}
	require.EqualError(t, Write(&strings.Builder{}, "png", newSpec()),
		`render state machine: unknown format "png", known are table, mermaid, dot, json`)
}

var errDiskFull = errors.New("disk full")

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errDiskFull }

func TestWriteReportsAFailedWriter(t *testing.T) {
	for _, format := range Formats() {
		require.ErrorIs(t, Write(fullDisk{}, format, newSpec()), errDiskFull, format)
	}
}
