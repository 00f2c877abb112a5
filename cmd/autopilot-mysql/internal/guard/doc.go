// Package guard is the small process above everything else: PID 1 of a container, parent of
// mysqld and of the agent (the process that decides). It knows nothing about MySQL or Consul and
// does a few things:
//
//   - It is the third fence of the safety protocol. The agent of a primary feeds it proofs as a
//     deadline on CLOCK_BOOTTIME; when the last one passes, mysqld gets SIGKILL, also when the agent
//     is frozen, deadlocked or gone.
//   - It keeps mysqld alive over a crash of the agent, and hands the next agent the memory (an
//     opaque value) that the last one left.
//   - It replaces an agent that crashed, and one that let a deadline pass and then stays silent.
//   - It turns SIGTERM into a request that the agent carries out in the safe order, and into SIGKILL
//     for everything when that takes too long.
//   - It reaps orphans, and returns the exit status of the whole.
//
// Guard and agent talk over a socket pair (JSON lines, the agent's end is an inherited descriptor).
// Run is the guard's side, Client the agent's.
//
// # Invariants
//
// All state belongs to one goroutine (the loop of Run), and that goroutine never waits: forks, socket
// writes and log lines happen elsewhere. Every turn of the loop looks at the deadline first, so a
// guard that was itself frozen kills before it hears an excuse that arrived meanwhile.
//
// Children have SIGKILL as parent-death signal. Linux ties it to the thread that forked, so one
// goroutine, locked to its thread for the life of the process, does all forks. The kernel forgets the
// signal when a program changes its user itself: start mysqld with Command.User, not with --user.
//
// The guard never sends SIGTERM to mysqld by itself, only SIGKILL. A graceful shutdown tells clients
// whose commit waits for an acknowledgement that it is done, so whether SIGTERM is safe is a question
// only the agent can answer; SIGKILL is always safe, because mysqld runs crash-safe. Hence a stop
// without an agent (it just crashed, or dies on the way) is a SIGKILL, whatever the role.
//
// Only the guard waits for its children. It must not use os/exec, and the process that calls Run
// must not either.
package guard
