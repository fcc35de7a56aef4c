//go:build race

package postgres_test

// nth is how many of the mutations of a conversation are tried: every nth. The
// race detector makes each take ten times as long, and looks for what does not
// depend on the byte; without it all are tried.
const nth = 17
