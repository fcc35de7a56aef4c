package postgres_test

import (
	"bytes"
	"encoding/binary"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/protocols/postgres"
)

// Plugins get the beginnings of long parameters, and are told so; the server and
// the recording get all of them.
func TestLongParametersAreCutForPluginsAlone(t *testing.T) {
	var seen []event.Request
	see := rule(func(r *event.Request) event.Verdict {
		if r.Operation == "execute" {
			seen = append(seen, *r)
		}
		return event.Verdict{Action: event.Allow}
	})
	g := startGate(t, gateConfig{plugins: []pipeline.Plugin{see}, limits: postgres.Limits{Parameters: 1 << 10}})
	r := g.raw(t)
	text, binary := strings.Repeat("ä", 1_500_000), bytes.Repeat([]byte{0, 0xff, 'b'}, 100_000)
	bind := func(text string) {
		r.send(&pgproto3.Parse{Query: "SELECT length($1::text), $2::int, md5($3::bytea), $4::text"},
			&pgproto3.Describe{ObjectType: 'S'}, &pgproto3.Sync{})
		r.until("Z I")
		r.send(&pgproto3.Bind{Parameters: [][]byte{[]byte(text), []byte("7"), binary, nil}, ParameterFormatCodes: []int16{0, 0, 1, 0}},
			&pgproto3.Execute{}, &pgproto3.Sync{})
		if got := r.until("Z"); !cmp.Equal(got, []string{"2", "D 1500000|7|bd95aadd15d9e5b9dd5a7985d935f565|NULL", "C SELECT 1", "Z I"}) {
			t.Errorf("got %q", got)
		}
	}
	bind(text)
	bind(text)
	bind(text[:len(text)-1] + "\xa5") // å at its end
	if len(seen) != 3 {
		t.Fatalf("judged %d times", len(seen))
	}
	req := seen[0]
	if req.CutSize(0) != 3_000_000 || req.CutSize(1) != 0 || req.CutSize(2) != 300_000 || req.CutSize(3) != 0 {
		t.Errorf("cut: %v", req.Cut)
	}
	first, third := string(req.Params[0]), string(req.Params[2])
	if !strings.HasPrefix(text, first) || len(first) < 500 || string(req.Params[1]) != "7" || !strings.HasPrefix(third, `\x00ff6200ff62`) ||
		len(first)+len(third) > 1<<10+2 || req.Params[3] != nil {
		t.Errorf("shown %q, %q, %q, %q", first, req.Params[1], third, req.Params[3])
	}
	if seen[0].Cut[0] != seen[1].Cut[0] || seen[0].Cut[0].Digest == seen[2].Cut[0].Digest || seen[0].Cut[1] != seen[2].Cut[1] {
		t.Error("the digests do not tell the values apart")
	}
	whole := map[int][]byte{}
	var request uint64
	for _, f := range g.tapes[0].all() {
		var p event.Parameter
		if f.Kind != event.KindParameter || request != 0 && f.Exchange != request {
			continue
		}
		if err := p.Decode(f.Payload); err != nil || len(p.Part) > 1<<20 {
			t.Fatalf("a part of %d bytes: %v", len(p.Part), err)
		}
		request = f.Exchange
		whole[p.Param] = append(whole[p.Param], p.Part...)
	}
	if len(whole) != 2 || string(whole[0]) != text || !bytes.Equal(whole[2], binary) {
		t.Errorf("recorded %d values of %d and %d bytes", len(whole), len(whole[0]), len(whole[2]))
	}
}

// A parameter of 50 MB is in memory about once.
func TestLongParametersTakeLittleMemory(t *testing.T) {
	const size = 50_000_000
	g := startGate(t, gateConfig{plugins: []pipeline.Plugin{rule(words)}, limits: postgres.Limits{MessageSize: 1 << 30}, record: onDisk(t)})
	r := g.raw(t)
	r.SetDeadline(time.Now().Add(hangs))
	r.send(&pgproto3.Parse{Query: "SELECT length($1::text)"})
	before := inUse()
	head := []byte("B\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01")
	head = binary.BigEndian.AppendUint32(head, size)
	binary.BigEndian.PutUint32(head[1:], uint32(len(head)-1+size+2))
	if _, err := r.Write(head); err != nil {
		t.Fatal(err)
	}
	part := bytes.Repeat([]byte("x"), 1_000_000)
	var grown int64
	measure := func() {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		grown = max(grown, int64(m.HeapInuse)-before)
	}
	for range size / len(part) {
		if _, err := r.Write(part); err != nil {
			t.Fatal(err)
		}
		measure()
	}
	if _, err := r.Write([]byte("\x00\x00")); err != nil {
		t.Fatal(err)
	}
	r.send(&pgproto3.Execute{}, &pgproto3.Sync{})
	for {
		m := r.next()
		measure()
		if m == "Z I" {
			break
		}
		if m == "D 50000000" || m == "1" || m == "2" || m == "C SELECT 1" {
			continue
		}
		t.Fatalf("got %q", m)
	}
	t.Logf("memory grew by %d bytes", grown)
	if grown > 2*size {
		t.Errorf("memory grew by %d bytes", grown)
	}
}
