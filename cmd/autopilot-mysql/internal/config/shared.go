package config

import (
	"maps"
	"slices"
)

// isShared tells the settings that may be set for the whole cluster at once, in Consul. There they win over what a single
// node was started with: the nodes have to agree on them.
func isShared(name string) bool {
	return slices.Contains([]string{"lease", "acks", "max-ackers", "policy", "alone", "max-lag", "cooldown", "failovers-per-hour", "errant"}, name)
}

// Shared lists the settings that may be set for the whole cluster, in order of their names.
func Shared() []string {
	var names []string
	for _, f := range fieldsOf(&Settings{}) {
		if isShared(f.name) {
			names = append(names, f.name)
		}
	}
	slices.Sort(names)
	return names
}

// OnlyAtStart reports whether running nodes keep the value they started with.
func OnlyAtStart(name string) bool { return name == "lease" }

// WithShared is a copy of s in which the cluster's values have replaced its own. Names that this version does not know
// are passed over, so that nodes of two versions can run side by side. The error (an *Error) says what is wrong with the
// values; the copy is not to be used then.
func WithShared(s Settings, values map[string]string) (Settings, error) {
	r := &resolver{fields: fieldsOf(&s), byName: map[string]*field{}, report: &Report{}}
	for _, f := range r.fields {
		r.byName[f.name] = f
	}
	known := Shared()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(known, name) {
			continue
		}
		f := r.byName[name]
		err := decode(f.value, values[name])
		if err == nil {
			err = f.checkEnum()
		}
		if err != nil {
			r.problems.add("correct the value", "%s=%s is %s", name, values[name], err)
			continue
		}
		f.source, f.changed = Source{Layer: Cluster}, true
	}
	if s.maxAckersAuto && values["max-ackers"] == "" || s.MaxAckers == 0 {
		s.MaxAckers = max(2*s.Acks, 2)
	}
	if r.problems.err() == nil {
		r.checkFailover(&s)
	}
	return s, r.problems.err()
}

// CheckShared says what is wrong with cluster-wide values, beside the defaults of everything else; nil when nothing is.
func CheckShared(values map[string]string) error {
	s := Settings{}
	for _, f := range fieldsOf(&s) {
		if f.def == "" {
			continue
		}
		if err := decode(f.value, f.def); err != nil {
			panic("config: default of " + f.name + ": " + err.Error())
		}
	}
	_, err := WithShared(s, values)
	return err
}

// Overlay shows the cluster's values in a report, with their source.
func (r *Report) Overlay(values map[string]string) {
	for i, v := range r.Values {
		if value, ok := values[v.Name]; ok && isShared(v.Name) {
			r.Values[i].Value, r.Values[i].Source = value, Source{Layer: Cluster}.String()
		}
	}
}
