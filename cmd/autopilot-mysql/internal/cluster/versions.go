package cluster

import "github.com/autopilot-mysql/autopilot-mysql/roles"

// versionProblems names the living followers whose MySQL must not follow the primary's.
func versionProblems(d *Doc) (list []Problem) {
	primary := ""
	for _, n := range d.Nodes {
		if n.Name == d.Primary {
			primary = n.Version
		}
	}
	for _, n := range d.Nodes {
		if n.Name == d.Primary || n.State == Down {
			continue
		}
		if err := roles.MayReplicate(primary, n.Version); err != nil {
			list = append(list, Problem{Node: n.Name, What: err.Error(), Do: "start this node with the primary's version of MySQL (docs/upgrades.md)"})
		}
	}
	return list
}
