package recorder

import (
	"context"
	"sync"
	"time"
)

// A queue hands work from many to many. What it holds is also on disk, so that
// the limit on the spool is its limit.
type queue[T any] struct {
	mu    sync.Mutex
	items []T
	ready chan struct{} // holds a token when there may be items
}

func (q *queue[T]) init() { q.ready = make(chan struct{}, 1) }

func (q *queue[T]) push(x T) {
	q.mu.Lock()
	q.items = append(q.items, x)
	q.mu.Unlock()
	q.signal()
}

func (q *queue[T]) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// pop waits for an item. It returns false when ctx ends.
func (q *queue[T]) pop(ctx context.Context) (x T, ok bool) {
	for {
		if got := q.take(1); len(got) == 1 {
			return got[0], true
		}
		select {
		case <-q.ready:
		case <-ctx.Done():
			return x, false
		}
	}
}

// take returns up to n items without waiting.
func (q *queue[T]) take(n int) []T {
	q.mu.Lock()
	defer q.mu.Unlock()
	n = min(n, len(q.items))
	got := append([]T(nil), q.items[:n]...)
	clear(q.items[:n]) // for the garbage collector
	if q.items = q.items[n:]; len(q.items) > 0 {
		q.signal()
	}
	return got
}

// A bell wakes all who wait for something to change.
type bell struct {
	mu sync.Mutex
	ch chan struct{}
}

// wait returns a channel that the next ring closes.
func (b *bell) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}

// Limits of the wait before a failed step is tried again.
const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 15 * time.Second
)

// A backoff grows with each failure.
type backoff struct{ next time.Duration }

func (b *backoff) reset() { b.next = 0 }

// wait returns false when ctx ended.
func (b *backoff) wait(ctx context.Context) bool {
	b.next = min(max(b.next*2, minBackoff), maxBackoff)
	return pause(ctx, b.next)
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
