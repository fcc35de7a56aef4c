package statement

import (
	"context"
	"fmt"
	"testing"
)

const (
	benchUpdate = "UPDATE pgbench_accounts SET abalance = abalance + %d WHERE aid = %d;"
	benchLong   = "SELECT o.id, o.total, c.name FROM orders o JOIN customers c ON c.id = o.customer_id WHERE o.state = '%d' AND o.total > %d ORDER BY o.id"
)

func BenchmarkTextHit(b *testing.B) {
	sql := "SELECT /* a comment rules shapes out */ abalance FROM pgbench_accounts WHERE aid = 1"
	b.ReportAllocs()
	for b.Loop() {
		if _, err := shared.Analyze(context.Background(), sql); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkShapeHit(b *testing.B) {
	for name, text := range map[string]string{"pgbench": benchUpdate, "join": benchLong} {
		b.Run(name, func(b *testing.B) {
			var texts [64]string
			for i := range texts {
				texts[i] = fmt.Sprintf(text, i*7, i*1001)
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := shared.Analyze(context.Background(), texts[i%len(texts)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMiss(b *testing.B) {
	for name, text := range map[string]string{"pgbench": benchUpdate, "join": benchLong} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, _, err := shared.read(context.Background(), fmt.Sprintf(text, i, i)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkBody(b *testing.B) {
	sql := "DO $$ DECLARE n int := 5; BEGIN n := g(n) + 1; DELETE FROM t WHERE id = n; IF n > 5 THEN PERFORM f(n); END IF; END $$"
	for b.Loop() {
		if _, _, err := shared.read(context.Background(), sql); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMask(b *testing.B) {
	for name, text := range map[string]string{"pgbench": benchUpdate, "join": benchLong} {
		b.Run(name, func(b *testing.B) {
			sql := fmt.Sprintf(text, 7, 1001)
			r, err := shared.Analyze(context.Background(), sql)
			if err != nil {
				b.Fatal(err)
			}
			masked := make([]byte, 0, 2*len(sql))
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := r.Mask(masked, sql, func(b []byte, _ string, _ *Value) []byte { return append(b, "'[redacted]'"...) }); !ok {
					b.Fatal("not masked")
				}
			}
		})
	}
}
