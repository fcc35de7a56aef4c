package recorder_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
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

// BenchmarkTransaction is what the evidence of a short transaction takes of the
// processors in each of eight sessions: two commits of some 300 bytes, sealing
// and storing included. In between, memory is read, as a gate would: how long a
// commit takes depends on what is left of the caches.
func BenchmarkTransaction(b *testing.B) {
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
	var sessions []*recorder.Session
	for i := range 8 {
		s, err := r.Begin(info(i))
		if err != nil {
			b.Fatal(err)
		}
		appendFrame(b, s, event.KindOpen, 0, info(i).Append(nil))
		sessions = append(sessions, s)
	}
	other := make([]byte, 1<<20)
	sum := 0
	elsewhere := func() {
		for i := 0; i < len(other); i += 128 {
			sum += int(other[i])
		}
	}
	request := event.Request{Operation: "execute", Payload: []byte("SELECT abalance FROM pgbench_accounts WHERE aid = $1;"), Params: [][]byte{[]byte("4711")}}
	outcome := event.Outcome{Status: "ok", Tag: "SELECT 1"}
	transaction := func(i int) error {
		s, x := sessions[i%len(sessions)], uint64(i+1)
		elsewhere()
		request.Params[0] = fmt.Appendf(request.Params[0][:0], "%d", i*7919%500_000)
		payload := append(request.Append(nil), make([]byte, 150)...)
		err := errors.Join(s.Append(event.Frame{Kind: event.KindRequest, Exchange: x, Time: time.Now(), Payload: payload}), s.Commit(b.Context()))
		elsewhere()
		return errors.Join(err,
			s.Append(event.Frame{Kind: event.KindData, Exchange: x, Time: time.Now(), Payload: payload[:200]}),
			s.Append(event.Frame{Kind: event.KindOutcome, Exchange: x, Time: time.Now(), Payload: outcome.Append(nil)}), s.Commit(b.Context()))
	}
	b.ResetTimer()
	before := processorTime(b)
	for i := range b.N {
		if err := transaction(i); err != nil {
			b.Fatal(err)
		}
	}
	for _, s := range sessions {
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	if err := r.Flush(b.Context()); err != nil {
		b.Fatal(err)
	}
	with := processorTime(b) - before
	b.StopTimer()
	before = processorTime(b)
	for range b.N {
		elsewhere()
		elsewhere()
	}
	without := processorTime(b) - before
	b.ReportMetric(float64(with-without)/float64(b.N), "cpu-ns/op")
	b.ReportMetric(0, "ns/op")
	if sum != 0 {
		b.Error("what is zero is not")
	}
}

// processorTime is what this process has taken of the processors so far.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
