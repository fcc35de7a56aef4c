package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"gatehouse/core/event"
)

// A snapshot is a guest after its start, before it has seen anything of a
// session: what an instance goes back to, or begins with.
type snapshot struct {
	image     *image
	globals   []uint64
	world     world
	ptr, size uint32 // the buffer
	hooks     [hookCount]bool
	factsOnly bool
	finds     []event.Detector
}

// snapshot takes one of in.
func (in *instance) snapshot() (*snapshot, error) {
	m := in.module.Memory()
	all, ok := m.Read(0, m.Size())
	if !ok {
		return nil, errors.New("the memory cannot be read")
	}
	i, err := newImage(all)
	if err != nil {
		return nil, err
	}
	s := &snapshot{
		image: i, world: in.world, ptr: in.ptr, size: in.size,
		hooks: in.uses(), factsOnly: in.factsOnly, finds: in.finds,
	}
	for _, g := range in.globals {
		s.globals = append(s.globals, g.Get())
	}
	return s, nil
}

// restore puts s in place of all that in is.
func (in *instance) restore(s *snapshot) error {
	// A guest can tell how large its memory is, and cannot give any back.
	if size := in.module.Memory().Size(); uint64(size) != s.image.size {
		return fmt.Errorf("the guest has %d bytes of memory, not %d", size, s.image.size)
	}
	if err := in.memory.load(s.image); err != nil {
		return err
	}
	for i, g := range in.globals {
		g.Set(s.globals[i])
	}
	in.world, in.ptr, in.size = s.world, s.ptr, s.size
	in.owner, in.used = nil, false
	return nil
}

// clone makes an instance that is as its snapshot.
func (p *Plugin) clone(ctx context.Context) (*instance, error) {
	s := p.origin
	in, err := p.instantiate(ctx)
	if err != nil {
		return nil, err
	}
	m := in.module.Memory()
	if pages := (s.image.size - uint64(m.Size())) / pageSize; pages > 0 {
		if _, ok := m.Grow(uint32(pages)); !ok {
			return nil, errors.Join(errors.New("start: memory does not grow"), in.close())
		}
	}
	if err := in.restore(s); err != nil {
		return nil, errors.Join(fmt.Errorf("start: %w", err), in.close())
	}
	in.buffer = in.module.ExportedFunction("buffer")
	for h, used := range s.hooks {
		if used {
			in.hooks[h] = in.module.ExportedFunction(hook(h).String())
		}
	}
	in.factsOnly, in.finds = s.factsOnly, s.finds
	in.output.discard()
	in.budget = p.host.options.Fuel
	return in, nil
}

// A pool has the instances of a plugin. Calls wait for their turn, of which
// there are Options.Instances. There may be one instance more, so that a clean
// one is at hand.
type pool struct {
	turns chan struct{}

	mu    sync.Mutex
	idle  []*instance // the one that was used last comes last
	count int         // idle and in use

	dirty  chan struct{} // tells the washer that there is something to do
	washer sync.WaitGroup
}

func (p *pool) size() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// pick takes the idle instance out that suits a session best: one that has seen
// it already, else a clean one, else that which has not been used for longest.
// It returns nil if none is idle.
func (p *pool) pick(owner *Session, clean bool) *instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		p.count++
		return nil
	}
	i := slices.IndexFunc(p.idle, func(in *instance) bool { return !clean && in.suits(owner) })
	if i < 0 {
		i = max(0, slices.IndexFunc(p.idle, func(in *instance) bool { return !in.used }))
	}
	in := p.idle[i]
	p.idle = slices.Delete(p.idle, i, i+1)
	return in
}

// put puts an instance back. It reports whether none is clean.
func (p *pool) put(in *instance) (dirty bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, in)
	return !slices.ContainsFunc(p.idle, func(in *instance) bool { return !in.used })
}

// lost tells that there is an instance less.
func (p *pool) lost() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count--
}

// toWash takes the instance out that has not been used for longest, if there
// are enough of them and none is clean. If there is room for one more it returns
// nil and true: one is to be made.
func (p *pool) toWash() (in *instance, do bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case slices.ContainsFunc(p.idle, func(in *instance) bool { return !in.used }):
		return nil, false
	case p.count <= cap(p.turns):
		p.count++
		return nil, true
	case len(p.idle) == 0:
		return nil, false
	}
	in = p.idle[0]
	p.idle = slices.Delete(p.idle, 0, 1)
	return in, true
}

func (p *pool) takeAll() []*instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.idle
	p.idle = nil
	p.count -= len(all)
	return all
}

// suits is whether in has seen nothing but the session that owner is.
func (in *instance) suits(owner *Session) bool {
	return !in.used || owner != nil && in.owner == owner
}

// take returns an instance that is the caller's until give. It has seen inputs
// of owner's session alone, or nothing if clean is true. It waits while all are
// in use.
func (p *Plugin) take(ctx context.Context, owner *Session, clean bool) (*instance, error) {
	if p.isClosed() {
		return nil, ErrClosed
	}
	select {
	case p.pool.turns <- struct{}{}:
	case <-p.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	in := p.pool.pick(owner, clean)
	var err error
	if in == nil || in.used && (clean || !in.suits(owner)) {
		in, err = p.wash(ctx, in)
	}
	if err != nil {
		<-p.pool.turns
		return nil, err
	}
	in.owner, in.used = owner, true
	return in, nil
}

// give puts an instance back.
func (p *Plugin) give(in *instance) {
	if p.pool.put(in) {
		select {
		case p.pool.dirty <- struct{}{}:
		default: // it is told already
		}
	}
	<-p.pool.turns
}

// wash returns a clean instance in the place of in, which may be nil. If there
// is none the pool has one less.
func (p *Plugin) wash(ctx context.Context, in *instance) (*instance, error) {
	if in != nil && p.origin != nil && in.restore(p.origin) == nil {
		return in, nil
	}
	if in != nil {
		_ = in.close() // it is replaced in any case
	}
	in, err := p.fresh(ctx)
	if err != nil {
		p.pool.lost()
	}
	return in, err
}

// fresh makes an instance.
func (p *Plugin) fresh(ctx context.Context) (*instance, error) {
	if p.origin != nil {
		return p.clone(ctx)
	}
	in, err := p.start(ctx)
	if err == nil {
		if err = p.same(in); err != nil {
			err = errors.Join(err, in.close())
		}
	}
	return in, err
}

// keepClean sees to it that an instance is clean before a session needs it,
// until p is closed.
func (p *Plugin) keepClean() {
	for {
		select {
		case <-p.closed:
			return
		case <-p.pool.dirty:
		}
		in, do := p.pool.toWash()
		if !do {
			continue
		}
		in, err := p.wash(context.Background(), in)
		if err != nil {
			p.host.options.Log.Warn("plugin instance not made", "plugin", p.name, "error", err)
			continue
		}
		p.pool.put(in)
	}
}
