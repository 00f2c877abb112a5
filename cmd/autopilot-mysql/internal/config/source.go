package config

// Layer is where a value was found; a higher layer overrides the ones below it.
type Layer int

// The layers, lowest first.
const (
	Default Layer = iota
	File
	Environment
	Flag
	Cluster // in Consul, for all nodes
)

// String is the layer's name in reports.
func (l Layer) String() string {
	switch l {
	case File:
		return "file"
	case Environment:
		return "environment"
	case Flag:
		return "flag"
	case Cluster:
		return "cluster"
	default:
		return "default"
	}
}

// Source says where an effective value comes from.
type Source struct {
	Layer Layer
	// Where names the flag, the environment variable or the path of the file; empty for defaults.
	Where string
}

// String is the source in words, "environment AUTOPILOT_LEASE".
func (s Source) String() string {
	if s.Where == "" {
		return s.Layer.String()
	}
	return s.Layer.String() + " " + s.Where
}

// Value is one effective setting, as `config check` prints it. Secrets are masked.
type Value struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

// Report tells how the settings came about.
type Report struct {
	// Values in order of declaration.
	Values []Value `json:"values"`
	// Warnings are single lines: accepted variables that have no meaning any more, and the like.
	Warnings []string `json:"warnings"`
}
