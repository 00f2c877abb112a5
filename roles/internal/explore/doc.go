// Package explore visits every state that a small cluster can get into, breadth first: the real decisions of package roles
// on three nodes, with two or three writes and a few faults. It consists of tests only.
//
// A state is one comparable value (state_test.go): what Consul holds, the three servers with their logs, streams,
// acknowledgements on their way, what each agent remembers, and what each is about to do. There are no clocks in it:
// whatever depends on one (a lease that ran out, an acker that has been silent for too long) may be either way, at any
// time, so what holds here holds at every speed. Between a decision and its effect anything may happen, an effect on Consul
// may come after its agent's death, and a process that is never scheduled is a frozen one.
//
// A switchover may be asked for, and some explorations begin in the middle of one, because its whole way is long. What is
// not here is in the simulation next door, which is random: Consul's data lost, snapshots, all else that operators ask for.
package explore
