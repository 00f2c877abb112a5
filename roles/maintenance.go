package roles

// InMaintenance reports whether an operator has taken the named node out of service for a while.
func (v View) InMaintenance(name string) bool {
	_, ok := v.Maintenance[name]
	return ok
}

// RefuseMaintenance says why the named node cannot be taken out of service as things are; nil when it can. Without a
// primary nobody could take it out of the ack set, and it may be the one the election needs. force is for too few standbys.
func RefuseMaintenance(name string, force bool, v View) *Refusal {
	h, ok := v.ValidPrimary()
	switch {
	case !ok:
		return refused(GuardNoPrimary, "there is no primary, which would have to take %s out of the ack set; bring one back first, see: autopilot-mysql status", name)
	case h.Name == name:
		return refused(GuardPrimary, "%s is the primary: first hand over with: autopilot-mysql switchover", name)
	}
	return refuseShrinking(Request{Node: name, Options: RequestOptions{Force: force}}, v, "pause")
}
