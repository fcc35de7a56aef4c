package host

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"gatehouse/core/event"
)

func TestMemoIsBounded(t *testing.T) {
	var m memo[int]
	key := func(i int) []byte {
		return append(bytes.Repeat([]byte{1}, 1000), binary.BigEndian.AppendUint32(nil, uint32(i))...)
	}
	n := 10 * memoSize / 1000
	m.put(key(0), 7)
	for i := 1; i < n; i++ {
		m.put(key(i), i)
		if v, ok := m.get(key(i)); !ok || v != i {
			t.Fatalf("%d is remembered as %d, %v", i, v, ok)
		}
		if v, ok := m.get(key(0)); !ok || v != 7 {
			t.Fatalf("what is asked for again and again was forgotten after %d", i)
		}
		if m.size > memoSize || len(m.young)+len(m.old) > 2*memoSize/1000 {
			t.Fatalf("%d bytes, %d and %d entries", m.size, len(m.young), len(m.old))
		}
	}
	if _, ok := m.get(key(1)); ok {
		t.Error("nothing was forgotten")
	}
	m.put(make([]byte, memoKey+1), 1)
	if _, ok := m.get(make([]byte, memoKey+1)); ok {
		t.Error("a key that is too large was kept")
	}
}

// While all instances are in use callers wait, and stop when their context
// ends or the plugin closes.
func TestTakeWaits(t *testing.T) {
	p := newPlugin(&Host{options: Options{Instances: 1}}, "guest", nil, nil)
	p.pool.turns <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.take(ctx, nil, false); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	waiting := make(chan error)
	go func() {
		_, err := p.take(t.Context(), nil, false)
		waiting <- err
	}()
	close(p.closed)
	if err := <-waiting; !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestInputsDifferByFactsOnly(t *testing.T) {
	encode := func(s event.Session, factsOnly bool) string {
		return string((&Plugin{factsOnly: factsOnly}).appendSession(nil, &s))
	}
	s := event.Session{ID: "1", Client: "a", Resource: "orders", Principal: event.Principal{Subject: "x"}}
	same, other := s, s
	same.ID, same.Client = "2", "b"
	other.Resource = "billing"
	if encode(s, true) != encode(same, true) || encode(s, true) == encode(other, true) {
		t.Error("sessions of the same facts must encode the same, others not")
	}
	if encode(s, false) == encode(same, false) {
		t.Error("all of a session must be there for a plugin that wants it")
	}
}
