// Package roles says what a MySQL node may be and why it changes.
//
// It is pure: no I/O, no clock, no goroutine. An agent gathers one immutable [Facts] value, calls [Decide],
// and carries out what comes back: either an [Event] that fires a row of [Table], or [Step]s to do inside
// the present state. The same code runs in the agent, in the exhaustive tests and in the model, so what was
// explored is what is shipped.
//
// The safety argument is in ARCHITECTURE.md. The short form: a commit reaches its client only after an
// acknowledgement by members of the ack set; whoever wants to be primary first takes those acknowledgements
// away from the old primary (seals), in numbers that must include a holder of every acknowledged write.
// DESIGN.md says what must always hold, and what shows it.
package roles

//go:generate go test -run TestTheDrawingIsTheTable -update .
