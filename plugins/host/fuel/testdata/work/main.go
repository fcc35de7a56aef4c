// Command work is a module of Go for the rewriter's tests.
package main

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

var text = strings.Repeat("the quick brown fox <fox@example.com> jumps over 4111 1111 1111 1111 lazy dogs; ", 200)

var address = regexp.MustCompile(`[a-z0-9.]+@[a-z0-9]+\.[a-z]+`)

// scan counts words around an @.
//
//go:wasmexport scan
func scan(n uint32) (found uint32) {
	b := text[:min(int(n), len(text))]
	for i := range len(b) {
		if b[i] != '@' {
			continue
		}
		from, to := i, i+1
		for from > 0 && b[from-1] >= 'a' && b[from-1] <= 'z' {
			from--
		}
		for to < len(b) && b[to] >= 'a' && b[to] <= 'z' {
			to++
		}
		if from < i && to > i+1 {
			found++
		}
	}
	return found
}

//go:wasmexport match
func match(n uint32) uint32 {
	return uint32(len(address.FindAllString(text[:min(int(n), len(text))], -1)))
}

//go:wasmexport decode
func decode(n uint32) uint32 {
	b, err := json.Marshal(strings.Fields(text[:min(int(n), len(text))]))
	if err != nil {
		return 0
	}
	var words []any
	if json.Unmarshal(b, &words) != nil {
		return 0
	}
	return uint32(len(words))
}

//go:wasmexport sort
func sort(seed uint32) (h uint32) {
	numbers := make([]uint32, 4096)
	for i := range numbers {
		seed = seed*1664525 + 1013904223
		numbers[i] = seed
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		h = h*31 + n
	}
	return h
}

//go:wasmexport fibonacci
func fibonacci(n uint32) uint32 {
	if n < 2 {
		return n
	}
	return fibonacci(n-1) + fibonacci(n-2)
}

func main() {}
