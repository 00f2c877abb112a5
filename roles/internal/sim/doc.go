// Package sim runs whole clusters in memory: the real decisions of package roles, on simulated servers under a simulated
// Consul, with everything that can go wrong in between. It consists of tests only.
//
// What is real: roles.Decide, roles.Elect and the guards of roles.Table, and the arithmetic of election.Lease. What is
// mirrored: the agent's loop, steps and keeper, one external call at a time (the files are named like the agent's),
// so that anything may happen between two of them. What is simulated: a server as far as the safety protocol knows it
// (server_test.go): a binary log, a relay log, commits that wait, acknowledgements on their way, accounts, streams; and a
// Consul of atomic transactions whose answers may be late or lost (consul_test.go).
//
// A run is a list of choices. It prints as a trace that a person can read, is found again by its seed, and is made
// shorter before it is shown (chance_test.go, schedule_test.go). Whether the simulation would notice anything at all is
// shown by taking away one line of the protocol after the other (mutation_test.go).
package sim
