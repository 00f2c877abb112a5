package cluster

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/roles"
)

// schema is the part of JSON Schema that ours uses for an object.
type schema struct {
	Properties map[string]schema `json:"properties"`
	Required   []string          `json:"required"`
	Defs       map[string]schema `json:"$defs"`
}

// TestSchemaHasEveryField that the documents have, and no other; e2e validates documents of a real cluster.
func TestSchemaHasEveryField(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "docs", "monitoring", "status.schema.json"))
	require.NoError(t, err)
	var s schema
	require.NoError(t, json.Unmarshal(b, &s))
	for _, c := range []struct {
		of  schema
		doc any
	}{
		{s, Doc{}}, {s.Defs["node"], NodeDoc{}}, {s.Defs["request"], roles.Request{}}, {s.Defs["failover"], Failover{}}, {s.Defs["pause"], roles.Pause{}},
		{s.Properties["ack_set"], AckSetDoc{}}, {s.Properties["lease"], LeaseDoc{}}, {s.Properties["snapshot"], SnapshotDoc{}},
		{s.Properties["snapshot"].Properties["work"], SnapshotWork{}}, {s.Properties["snapshot"].Properties["verified"], SnapshotVerified{}},
		{s.Properties["snapshot"].Properties["trouble"], SnapshotTrouble{}}, {s.Properties["failovers"], FailoversDoc{}},
		{s.Properties["archive"], ArchiveDoc{}}, {s.Defs["node"].Properties["pids"], roles.PIDs{}},
	} {
		of := reflect.TypeOf(c.doc)
		var all, required []string
		for i := range of.NumField() {
			name, options, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
			if name == "" || name == "-" {
				continue
			}
			all = append(all, name)
			if !strings.Contains(options, "omit") {
				required = append(required, name)
			}
		}
		var described []string
		for name := range c.of.Properties {
			described = append(described, name)
		}
		slices.Sort(described)
		slices.Sort(all)
		require.Equal(t, all, described, of.Name())
		require.ElementsMatch(t, required, c.of.Required, "required of %s", of.Name())
	}
}
