//go:build huge

package postgres_test

import (
	"testing"

	"gatehouse/core/pipeline"
)

// P03, P37: the longest rows that PostgreSQL can send, of one value and of 1,600,
// take as little memory as others.
func TestHugeRowsTakeLittleMemory(t *testing.T) {
	for sql, plugins := range map[string][]pipeline.Plugin{
		"SELECT 'a' || repeat('x', 1073741000) || 'z'":                                       {columns{}},
		"SELECT 'a' || repeat('x', 1073740000) AS pass_1, repeat('x', 500) || 'z' AS keep_2": {byName{}},
		wide(670_000): {columns{}},
	} {
		g := startGate(t, gateConfig{plugins: plugins, record: onDisk(t)})
		first, end, grown := readLong(t, g.raw(t), sql, 1_070_000_000)
		t.Logf("%.60s: memory grew by %d bytes", sql, grown)
		if first != 'a' || end != 'z' || grown > longBound {
			t.Errorf("%.60s: the row came as %c...%c, and memory grew by %d bytes", sql, first, end, grown)
		}
	}
}
