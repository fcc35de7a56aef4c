//go:build race

package postgres_test

// nth is how many of the mutations of a conversation, of random sequences, and of
// the statements of a corpus, are tried: every nth. The race detector makes each
// take ten times as long, and looks for what does not depend on the byte or the
// statement; without it all are tried.
const nth = 17
