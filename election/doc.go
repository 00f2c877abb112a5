// Package election is one lock with one holder: the words in which the rest of the program speaks to its coordination
// store, and the arithmetic that makes a lock safe to rely on.
//
// A lock in a remote store is only a claim. What turns it into a lease is a deadline that the holder computes by itself:
// it reads its own clock before it sends a renewal, and if the renewal succeeds it may act as holder until that instant
// plus [Params.H], no matter what the network does afterwards. The store gives the lock away only after [Params.C], which
// is longer by more than the time needed to stop acting ([Params.F]).
//
// The package knows no database and no particular store: [Store], [Session] and [Services] are implemented by
// election/consul for real, and by [Memory] for simulations. One conformance suite runs against both.
package election
