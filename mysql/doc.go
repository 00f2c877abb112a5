// Package mysql runs and operates one mysqld: its option file, its birth (initialise, bootstrap,
// clone), the statements of the safety protocol, and its status as plain values.
//
// Every function that talks to a server or starts a process takes a context and ends by its
// deadline. Passwords travel in statements over a socket or TLS and in files readable by their
// owner; never in process arguments, environment of mysqld, logs or errors.
package mysql
