// Package snapshot makes, lists, verifies, restores and retires snapshots of a
// node's data, and keeps the binary logs of a deposed primary.
//
// A snapshot is a directory made by CLONE LOCAL, packed with tar, compressed
// with zstd, cut into parts that can be read one by one, and described by a
// manifest which is written last and create-only: what has no manifest does not exist, so a
// snapshot is either whole or not there. Every part carries its SHA-256, and no
// byte of a part is used before its sum was checked. FORMAT.md describes what
// lies in the store, and how to read it without this package.
//
// Nothing here holds data in memory: parts are streamed up as they are
// compressed, and spooled to disk, a few ahead, when they come down.
//
// A clone holds no auto.cnf: the restored server makes itself a new
// server_uuid, which is what a new member needs.
package snapshot
