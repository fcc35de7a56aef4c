// Package peers starts the real servers that tests, benchmarks and the demo
// talk to: PostgreSQL, MinIO, pgbouncer and HAProxy, each on a free loopback
// port with its files in a temporary directory.
//
// The Start functions return errors and know nothing of testing; whoever
// starts a server closes it. The New functions are for tests: they fail the
// test when the server cannot start and close it when the test ends. The
// Shared functions give one server to all tests of a process. Whatever is
// still running when the process ends, however it ends, is stopped and its
// files are removed, so no TestMain is needed. Tests that share a server take
// a database or a bucket each.
//
// Everything in this package may be called from several goroutines.
package peers
