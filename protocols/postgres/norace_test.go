//go:build !race

package postgres_test

const nth = 1 // all are tried: see race_test.go
