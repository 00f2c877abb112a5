package roles

// refuseSwitchover says why a hand-over cannot even begin.
func refuseSwitchover(r Request, v View) *Refusal {
	to, guard, why := SwitchoverTarget(r.Node, v)
	if guard == "" {
		return refuseVersions(to, v)
	}
	return &Refusal{Guard: guard, Why: why}
}
