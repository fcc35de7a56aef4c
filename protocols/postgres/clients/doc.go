// Package clients holds no code of the gate: its tests run real clients of
// PostgreSQL, each doing its ordinary work, directly and through the gate, and
// compare what they print.
package clients
