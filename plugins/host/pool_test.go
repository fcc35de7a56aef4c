package host_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"gatehouse/core/event"
	"gatehouse/plugins/host"
	"gatehouse/plugins/plugintest"
)

func open(t testing.TB, p *host.Plugin, id string) *host.Session {
	t.Helper()
	s, err := p.Open(t.Context(), &event.Session{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What a guest of the Go SDK keeps of one session is not there in another: not
// in its variables and its environment, and not in its clock and its random
// numbers, however often they were read.
func TestSessionsAreApart(t *testing.T) {
	const secret = "alice@example.com"
	p, err := plugintest.Host(t, host.Options{Instances: 1}).Load(t.Context(), "unruly", plugintest.Build(t, "testdata/unruly"), nil)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(s *host.Session, operation string) string {
		t.Helper()
		v, err := s.Judge(t.Context(), new(event.Session), &event.Request{Operation: operation, Payload: []byte(secret)})
		if err != nil {
			t.Fatal(err)
		}
		return v.Reason
	}
	want := ask(open(t, p, "before"), "recall")
	if want == "" || strings.Contains(want, secret) {
		t.Fatalf("%q", want)
	}
	planted := 0
	for i := range 20 {
		thief := open(t, p, fmt.Sprint("thief ", i))
		planter := open(t, p, fmt.Sprint("planter ", i))
		for range i%3 + 1 {
			ask(planter, "plant")
		}
		if strings.Contains(ask(planter, "recall"), secret) {
			planted++ // else its instance went back to its start
		}
		if got := ask(thief, "recall"); got != want {
			t.Fatalf("round %d: %q, want %q", i, got, want)
		}
	}
	if planted == 0 {
		t.Error("nothing was planted: there was nothing to find")
	}
	// Nor is it there in what stands for any session.
	ask(open(t, p, "last"), "plant")
	v, err := plugintest.Judge(t, p).Judge(t.Context(), new(event.Session), &event.Request{Operation: "recall"})
	if err != nil || v.Reason != want {
		t.Errorf("%v, %v", v, err)
	}
	if n := p.Stats().Instances; n > 2 {
		t.Errorf("%d instances", n)
	}
}

// The size of its memory, and a table, are no places for secrets either.
func TestSizesAndTablesAreApart(t *testing.T) {
	grow := slices.Concat(i32Const(1), []byte{opMemoryGrow, 0, opDrop})
	// memory.size is not 4: unreachable.
	grown := slices.Concat([]byte{opMemorySize, 0}, i32Const(4), []byte{opI32Ne, opIf, opNoResult, opUnreachable, opEnd})
	init := []byte{opMore, opDataDrop, 0}
	dropped := slices.Concat(i32Const(dataAt), i32Const(0), i32Const(1), []byte{opMore, opMemoryInit, 0, 0})
	for _, c := range []struct {
		name         string
		plant, check []byte
		counted      bool
	}{
		{"memory", grow, grown, false},
		{"a segment of data", init, dropped, true},
	} {
		m := judging(
			[]byte{opLocalGet, 0}, i32Const(128), []byte{opI32GtU, opIf, opNoResult}, c.plant, []byte{0x05}, c.check, []byte{opEnd},
			reply(dataAt, len(allow)))
		m.countData, m.passive = c.counted, c.counted
		p, err := plugintest.Host(t, host.Options{Instances: 1}).Load(t.Context(), "guest", m.bytes(), nil)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		planted := 0
		for i := range 20 {
			planter, thief := open(t, p, fmt.Sprint("planter ", i)), open(t, p, fmt.Sprint("thief ", i))
			if _, err := planter.Judge(t.Context(), new(event.Session), long); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			if _, err := thief.Judge(t.Context(), new(event.Session), short); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			if _, err := planter.Judge(t.Context(), new(event.Session), long); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			if _, err := planter.Judge(t.Context(), new(event.Session), short); errors.Is(err, host.ErrTrap) {
				planted++
			}
		}
		if planted == 0 {
			t.Errorf("%s: nothing was planted: there was nothing to find", c.name)
		}
	}
}

// A trap in one session does nothing to a call of another that is under way in
// a sibling instance.
func TestTrapBesideOtherSession(t *testing.T) {
	p, err := plugintest.Host(t, host.Options{Instances: 2, Failures: 1000}).Load(t.Context(), "guest", onLong([]byte{opUnreachable}, i64Const(0)).bytes(), nil)
	if err != nil {
		t.Fatal(err)
	}
	good, bad := open(t, p, "good"), open(t, p, "bad")
	var both sync.WaitGroup
	both.Go(func() {
		for range 200 {
			if _, err := bad.Judge(t.Context(), new(event.Session), long); !errors.Is(err, host.ErrTrap) {
				t.Error(err)
			}
		}
	})
	both.Go(func() {
		for range 1000 {
			if v, err := good.Judge(t.Context(), new(event.Session), short); err != nil || v.Action != event.Allow {
				t.Error(v, err)
			}
		}
	})
	both.Wait()
	if s := p.Stats(); s.Traps != 200 || s.Instances > 3 {
		t.Errorf("%+v", s)
	}
}

// Calls of one session go to the instance that has seen it; a call of another
// one needs a clean one.
func BenchmarkSessions(b *testing.B) {
	h := plugintest.Host(b, host.Options{})
	p, err := h.Load(b.Context(), "unruly", plugintest.Build(b, "testdata/unruly"), nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, sessions := range []int{1, 100} {
		b.Run(fmt.Sprint(sessions), func(b *testing.B) {
			var all []*host.Session
			for i := range sessions {
				all = append(all, open(b, p, fmt.Sprint(i)))
			}
			for i := 0; b.Loop(); i++ {
				if _, err := all[i%sessions].Judge(b.Context(), new(event.Session), short); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
