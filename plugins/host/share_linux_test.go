//go:build !portable

package host

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"unsafe"

	"gatehouse/core/event"
)

func at(m *memory) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(m.reserved))) }

// private is how much memory of m is not shared with the image that it comes
// from, in bytes, as the kernel tells.
func private(t *testing.T, memories []*memory) (bytes int64) {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	within := false
	for s := bufio.NewScanner(f); s.Scan(); {
		var from, to, kilobytes uintptr
		if n, _ := fmt.Sscanf(s.Text(), "%x-%x ", &from, &to); n == 2 {
			within = false
			for _, m := range memories {
				within = within || from >= at(m) && to <= at(m)+uintptr(len(m.reserved))
			}
		} else if n, _ := fmt.Sscanf(s.Text(), "Private_Dirty: %d kB", &kilobytes); n == 1 && within {
			bytes += int64(kilobytes) << 10
		}
	}
	return bytes
}

// A thousand sessions share the instances of the four plugins that ship, in less
// than 64 MiB of guests' memory.
func TestThousandSessionsShareInstances(t *testing.T) {
	const sessions, most = 1000, 64 << 20
	ctx := t.Context()
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	h, err := New(ctx, Options{Instances: 8, CacheDir: dir + "/gatehouse/test-plugins"})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close(ctx)
	var plugins []*Plugin
	for _, name := range []string{"classify", "guard", "approve", "mask"} {
		wasm, err := os.ReadFile("../wasm/" + name + ".wasm")
		if err != nil {
			t.Fatalf("%v: run go generate ./plugins/...", err)
		}
		p, err := h.Load(ctx, name, wasm, nil)
		if err != nil {
			t.Fatal(err)
		}
		plugins = append(plugins, p)
	}
	request := &event.Request{
		Operation: "query", Payload: []byte("SELECT name, email FROM customers WHERE id = 7"),
		Statements: []event.Statement{{Kind: "SELECT", Runs: true}},
	}
	head := &event.Head{Fields: []event.Field{{Name: "name", Type: "text"}, {Name: "email", Type: "text"}}}
	work := func(i int) {
		s := &event.Session{ID: fmt.Sprint("session ", i), Resource: "orders"}
		var rows event.Rows
		rows.Reset(head.Fields)
		for range 50 {
			cells := rows.Grow()
			cells[0], cells[1] = []byte("Alice"), []byte("alice@example.com")
		}
		var open []*Session
		for _, p := range plugins {
			o, err := p.Open(ctx, s)
			if err != nil {
				t.Error(err)
				return
			}
			open = append(open, o)
		}
		for range 3 {
			for _, o := range open {
				r := o.Roles()
				if r.Judge != nil {
					if _, err := r.Judge.Judge(ctx, s, request); err != nil {
						t.Error(err)
					}
				}
				if r.Masker != nil {
					if _, err := r.Masker.Treat(ctx, s, head); err != nil {
						t.Error(err)
					}
					if o.uses[hookRows] {
						if _, err := r.Masker.Inspect(ctx, s, &rows, []int{0, 1}); err != nil {
							t.Error(err)
						}
					}
				}
			}
		}
	}
	var all sync.WaitGroup
	begin := make(chan struct{})
	for i := range sessions {
		all.Go(func() {
			<-begin
			work(i)
		})
	}
	close(begin)
	all.Wait()

	var memories []*memory
	var images int64
	instances := 0
	for _, p := range plugins {
		p.pool.mu.Lock()
		for _, in := range p.pool.idle {
			memories = append(memories, in.memory)
		}
		p.pool.mu.Unlock()
		images += int64(p.origin.image.size)
		instances += p.Stats().Instances
	}
	if len(memories) == 0 || len(memories) > instances {
		t.Fatalf("%d memories of %d instances", len(memories), instances)
	}
	own := private(t, memories)
	t.Logf("%d instances: images %.1f MiB, own memory %.1f MiB", instances, float64(images)/(1<<20), float64(own)/(1<<20))
	if own == 0 || images+own > most {
		t.Errorf("images of %d bytes, and %d bytes of %d instances of their own", images, own, instances)
	}
	for _, p := range plugins {
		if s := p.Stats(); s.Traps+s.Timeouts+s.Malformed > 0 || s.Instances > 9 {
			t.Errorf("%s: %+v", p.Name(), s)
		}
	}
}

// Only what a guest writes is its own. A reset puts back what the image has, and gives
// back the memory if it is much.
func TestReset(t *testing.T) {
	m, err := newMemory(8 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Free()
	b := m.Reallocate(4 << 20)
	b[5], b[1<<18] = 7, 8
	i, err := newImage(b)
	if err != nil {
		t.Fatal(err)
	}
	defer i.close()
	want := bytes.Clone(b)
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		if err := m.load(i); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, want) {
			t.Fatalf("round %d: not what the image has", round)
		}
		// Few, many and all pages, written to and read.
		for range []int{0, 1, 30, 3000}[round%4] {
			b[random.IntN(len(b))] += b[random.IntN(len(b))] + 1
		}
	}
	if err := m.load(i); err != nil {
		t.Fatal(err)
	}
	if n := private(t, []*memory{m}); n > maxOwn {
		t.Errorf("%d bytes of its own after a reset", n)
	}
	clear(b)
	if n := private(t, []*memory{m}); n < maxOwn {
		t.Errorf("%d bytes of its own", n)
	}
	if err := m.load(i); err != nil {
		t.Fatal(err)
	}
	if n := private(t, []*memory{m}); n != 0 {
		t.Errorf("%d bytes of its own after all was written to", n)
	}
	b[5], b[6] = 1, 1
	if n := private(t, []*memory{m}); n == 0 || n > 1<<18 /* the kernel takes some pages together */ {
		t.Errorf("%d bytes of its own", n)
	}
	if m.Reallocate(8<<20+1) != nil {
		t.Error("more than there is")
	}
	if err := m.load(&image{file: i.file, size: 4096}); err == nil {
		t.Error("an image of another size was taken")
	}
}
