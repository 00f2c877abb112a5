// Package binlog reads MySQL's binary log files: enough to know which
// transactions lie where, when they were committed, and that no byte of them is
// damaged. It never looks into rows or statements.
//
// A file begins with four magic bytes, a format description event and the set of
// all earlier GTIDs; then come transactions, each led by an event that carries
// its GTID, its commit time and its length. [Open] finds transactions at their
// places in a file that a server may still be appending to; [Copy] takes a range
// of them over; [Filter] passes a stream on with some of them left out. A copy
// is a binary log file of its own again: mysqlbinlog reads it, and a server
// applies it as a relay log.
//
// The format was checked against MySQL 9.7, tagged GTIDs and compressed
// transactions included. Encrypted files and transactions without a GTID are
// refused.
package binlog
