// Package agent is the process that runs one node: it observes (mysqld, the lease, the cluster's records), lets
// [roles.Decide] say what follows, fires the machine or carries out the steps, and says what it is in Consul.
//
// Data flows one way on every turn of the loop: observe → decide → fire or act → publish. The tick is the retry;
// blocking queries and process exits only wake the loop. Four things run beside it, each owning its own state:
// the keeper (session, lease, guard's deadline), the watch (newest view of the records), the catalog (service
// registrations), and at most one long job of the present state (found, restore), which ends with the state.
package agent
