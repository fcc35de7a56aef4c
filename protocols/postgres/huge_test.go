//go:build huge

package postgres_test

import (
	"testing"

	"gatehouse/core/pipeline"
)

// The longest rows that PostgreSQL can send take as little memory as others.
func TestHugeRowsTakeLittleMemory(t *testing.T) {
	for sql, plugins := range map[string][]pipeline.Plugin{
		"SELECT 'a' || repeat('x', 1073741000) || 'z'":                                       {columns{}},
		"SELECT 'a' || repeat('x', 1073740000) AS pass_1, repeat('x', 500) || 'z' AS keep_2": {byName{}},
	} {
		g := startGate(t, gateConfig{plugins: plugins, record: onDisk(t)})
		first, end, grown := readLong(t, g.raw(t), sql, 1_073_740_000)
		t.Logf("memory grew by %d bytes", grown)
		if first != 'a' || end != 'z' || grown > longBound {
			t.Errorf("%s: the row came as %c...%c, and memory grew by %d bytes", sql, first, end, grown)
		}
	}
}
