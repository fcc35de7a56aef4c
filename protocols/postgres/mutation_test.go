package postgres_test

import (
	"bytes"
	"encoding/binary"
	"iter"
	"slices"
	"sync"
	"testing"

	"gatehouse/protocols/postgres"
)

var (
	recordOnce    sync.Once
	conversations []*conversation
)

// recorded are the conversations with a real server, which are had once.
func recorded(t *testing.T) []*conversation {
	t.Helper()
	recordOnce.Do(func() { conversations = record(t) })
	if len(conversations) != len(scripts) {
		t.Fatal("the conversations were not recorded")
	}
	return conversations
}

// lengths are how many bytes the client and the server say in all.
func (c *conversation) lengths() (client, server int) {
	client = len(startUp("main")) + len(password)
	for _, s := range c.steps {
		client += len(s)
	}
	server = len(greeting)
	for _, s := range c.script {
		server += len(s.frame)
	}
	return client, server
}

// However the bytes of either side are cut, nobody can tell the difference.
func TestSplitAtEveryByte(t *testing.T) {
	for _, c := range recorded(t) {
		ofClient, ofServer := c.lengths()
		check := func(client, server trouble) {
			inBubble(t, func(t *testing.T) {
				if got, _ := play(t, c, client, server); !bytes.Equal(got, c.answer) {
					t.Errorf("%s: client %+v, server %+v:\n got %q\nwant %q", c.name, client, server, got, c.answer)
				}
			})
		}
		check(trouble{"bytewise", 0}, trouble{"bytewise", 0})
		for at := 0; at < ofClient; at += nth {
			check(trouble{"split", at}, trouble{})
		}
		for at := 0; at < ofServer; at += nth {
			check(trouble{}, trouble{"split", at})
		}
	}
}

// Wherever either side stalls or leaves, the session ends, what it took is
// given back, and nobody else notices.
func TestStallAndCloseAtEveryByte(t *testing.T) {
	for _, c := range recorded(t) {
		ofClient, ofServer := c.lengths()
		for _, kind := range []string{"stall", "close"} {
			for at := 0; at < ofClient; at += nth {
				inBubble(t, func(t *testing.T) {
					got, g := play(t, c, trouble{kind, at}, trouble{})
					if all := frames(got); len(all) > 0 && bytes.Contains(all[len(all)-1], []byte("\x00C08006\x00")) {
						got = bytes.Join(all[:len(all)-1], nil) // it was told what it did
					}
					if len(got) > len(c.answer) {
						t.Errorf("%s: %s at %d of the client was answered %q", c.name, kind, at, got)
					}
					// Before the session is open, the gate's own limit ends it.
					if at < len(startUp("main"))+len(password) && slices.Max(g.lasted) > postgres.DefaultStartupTime {
						t.Errorf("%s at %d: the start-up lasted %v", kind, at, g.lasted)
					}
				})
			}
			for at := 0; at < ofServer; at += nth {
				inBubble(t, func(t *testing.T) { play(t, c, trouble{}, trouble{kind, at}) })
			}
		}
	}
}

// with returns a conversation in which the client or the server says other
// frames.
func (c *conversation) with(steps [][]byte, script []said) *conversation {
	other := *c
	if other.name += " changed"; steps != nil {
		other.steps = steps
	}
	if script != nil {
		other.script = script
	}
	return &other
}

// lies are what a length field may claim in the place of n.
func lies(n uint32) []uint32 {
	return []uint32{0, 1, 3, 4, n - 1, n + 1, n + 1000, 0x40000000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff}
}

// lying returns f with lies in the place of its length, and in every place of
// its body where a count or another length may be. A RowDescription only lies
// about its count: under other names it would be another result, which nobody
// asked to mask.
func lying(f []byte) (all [][]byte) {
	for _, n := range lies(binary.BigEndian.Uint32(f[1:])) {
		b := bytes.Clone(f)
		binary.BigEndian.PutUint32(b[1:], n)
		all = append(all, b)
	}
	if f[0] == 'T' {
		for _, n := range []byte{0, 1, 3, 0xff} {
			b := bytes.Clone(f)
			b[6] = n
			all = append(all, b)
		}
		return all
	}
	for at := 5; at+4 <= len(f); at++ {
		for _, n := range []uint32{0, 0x7fffffff, 0xffffffff} {
			b := bytes.Clone(f)
			binary.BigEndian.PutUint32(b[at:], n)
			all = append(all, b)
		}
	}
	return all
}

// some are every nth of all.
func some[T any](all []T) iter.Seq[T] {
	return func(yield func(T) bool) {
		for i := 0; i < len(all) && yield(all[i]); i += nth {
		}
	}
}

// A client or a server whose lengths and counts are wrong ends its own session
// at the most.
func TestLengthsThatLie(t *testing.T) {
	for _, c := range recorded(t) {
		for i, step := range c.steps {
			fs := frames(step)
			for k := range fs {
				for lie := range some(lying(fs[k])) {
					steps := slices.Clone(c.steps)
					steps[i] = slices.Concat(slices.Concat(fs[:k]...), lie, slices.Concat(fs[k+1:]...))
					inBubble(t, func(t *testing.T) { play(t, c.with(steps, nil), trouble{}, trouble{}) })
				}
			}
		}
		for i := range c.script {
			for lie := range some(lying(c.script[i].frame)) {
				script := slices.Clone(c.script)
				script[i].frame = lie
				inBubble(t, func(t *testing.T) { play(t, c.with(nil, script), trouble{}, trouble{}) })
			}
		}
	}
}

// rearranged are the orders of n frames in which one is left out, is said twice, or
// comes before the one before it.
func rearranged(n int) (all [][]int) {
	for i := range n {
		order := func(middle ...int) []int {
			all := make([]int, 0, n+1)
			for k := range n {
				if k == i {
					all = append(all, middle...)
				} else {
					all = append(all, k)
				}
			}
			return all
		}
		all = append(all, order(), order(i, i))
		for k := i + 1; k < n; k++ {
			exchanged := order(k)
			exchanged[k] = i
			all = append(all, exchanged)
		}
	}
	return all
}

// Messages that are lost, repeated or out of order, of either side, end the
// session at the most. Nothing unmasked comes through, and nothing goes up that
// is not in the spool: play checks both.
func TestMessagesLostRepeatedAndExchanged(t *testing.T) {
	for _, c := range recorded(t) {
		for i, step := range c.steps {
			fs := frames(step)
			for order := range some(rearranged(len(fs))) {
				steps := slices.Clone(c.steps)
				steps[i] = nil
				for _, k := range order {
					steps[i] = append(steps[i], fs[k]...)
				}
				if len(steps[i]) == 0 {
					steps = slices.Delete(steps, i, i+1)
				}
				inBubble(t, func(t *testing.T) { play(t, c.with(steps, nil), trouble{}, trouble{}) })
			}
		}
		for order := range some(rearranged(len(c.script))) {
			var script []said
			for at, k := range order {
				s := said{0, c.script[k].frame}
				if s.after = c.script[min(at, len(c.script)-1)].after; len(script) > 0 {
					s.after = max(s.after, script[len(script)-1].after)
				}
				script = append(script, s)
			}
			inBubble(t, func(t *testing.T) { play(t, c.with(nil, script), trouble{}, trouble{}) })
		}
	}
}
