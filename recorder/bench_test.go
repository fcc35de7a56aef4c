package recorder_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

// BenchmarkCommit is the hot path: a frame of each size, appended and
// committed by itself, and as one of a hundred.
func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{100, 1000, 10_000, 100_000} {
		for _, batch := range []int{1, 100} {
			b.Run(fmt.Sprintf("size=%d/batch=%d", size, batch), func(b *testing.B) { benchmarkCommit(b, size, batch) })
		}
	}
}

func benchmarkCommit(b *testing.B, size, batch int) {
	dir, err := recorder.OpenDir(filepath.Join(b.TempDir(), "store"))
	if err != nil {
		b.Fatal(err)
	}
	defer dir.Close()
	key, _, err := recorder.GenerateKey("bench")
	if err != nil {
		b.Fatal(err)
	}
	r, err := recorder.Open(recorder.Options{Spool: b.TempDir(), Store: dir, Key: key})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close(b.Context())
	s, err := r.Begin(info(1))
	if err != nil {
		b.Fatal(err)
	}
	appendFrame(b, s, event.KindOpen, 0, info(1).Append(nil))
	payload := make([]byte, size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if err := s.Append(event.Frame{Kind: event.KindData, Time: time.Now()}, payload); err != nil {
			b.Fatal(err)
		}
		if i%batch == 0 {
			if err := s.Commit(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.StopTimer()
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkGroupCommit commits a frame of 200 bytes in each of many sessions at
// the same time, with and without a wait for the disk.
func BenchmarkGroupCommit(b *testing.B) {
	for _, safe := range []bool{false, true} {
		for _, sessions := range []int{1, 50} {
			b.Run(fmt.Sprintf("power=%t/sessions=%d", safe, sessions), func(b *testing.B) { benchmarkGroupCommit(b, safe, sessions) })
		}
	}
}

func benchmarkGroupCommit(b *testing.B, safe bool, sessions int) {
	dir, err := recorder.OpenDir(filepath.Join(b.TempDir(), "store"))
	if err != nil {
		b.Fatal(err)
	}
	defer dir.Close()
	key, _, err := recorder.GenerateKey("bench")
	if err != nil {
		b.Fatal(err)
	}
	r, err := recorder.Open(recorder.Options{Spool: b.TempDir(), Store: dir, Key: key, PowerSafe: safe})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close(b.Context())
	payload := make([]byte, 200)
	var wg sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ResetTimer()
	for i := range sessions {
		s, err := r.Begin(info(i))
		if err != nil {
			b.Fatal(err)
		}
		appendFrame(b, s, event.KindOpen, 0, info(i).Append(nil))
		wg.Go(func() {
			defer s.Close()
			for left.Add(-1) >= 0 {
				err := s.Append(event.Frame{Kind: event.KindData, Time: time.Now()}, payload)
				if err == nil {
					err = s.Commit(b.Context())
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}
