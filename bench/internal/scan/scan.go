// Package scan is work for a plugin that looks through values: the same code runs
// in a guest and natively.
package scan

import "bytes"

// Find returns where the first e-mail address of a value stands, roughly: the word
// around an @. It returns -1 where there is none.
func Find(v []byte) (from, to int) {
	at := bytes.IndexByte(v, '@')
	if at < 0 {
		return -1, -1
	}
	for from = at; from > 0 && v[from-1] > ' '; from-- {
	}
	for to = at; to < len(v) && v[to] > ' '; to++ {
	}
	return from, to
}
