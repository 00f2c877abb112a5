package agent

import "github.com/autopilot-mysql/autopilot-mysql/roles"

// mayOpen refuses a server whose version must not be let near the data, before it is started on it. Data that are to be
// replaced anyway do not count.
func (d *disk) mayOpen(version string) error {
	if !d.s.HasData || d.s.Condemned {
		return nil
	}
	if err := roles.MayOpenData(d.s.MySQL, version); err != nil {
		return refuse("data directory "+d.dir, err.Error(), "start the version it was used with; nothing was changed (docs/upgrades.md)")
	}
	return nil
}
