package statement

import (
	"container/list"
	"sync"
)

// A cache keeps the results used last, by text or by shape. It may be used
// concurrently.
type cache struct {
	maxEntries, maxBytes int

	mu      sync.Mutex
	entries map[string]*list.Element
	order   *list.List // of *cached, the one used last in front
	bytes   int
}

// A cached result. A nil result under a shape says that the facts of such
// statements depend on their literals, so that the text itself is the key.
type cached struct {
	key    string
	result *Result
	bytes  int
}

func newCache(entries, bytes int) *cache {
	return &cache{
		maxEntries: entries,
		maxBytes:   bytes,
		entries:    make(map[string]*list.Element),
		order:      list.New(),
	}
}

// get looks a key up; it does not keep it.
func (c *cache) get(key []byte) (*Result, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[string(key)]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached).result, true
}

// put keeps a result, and drops what was not used for longest.
func (c *cache) put(key string, r *Result) {
	size := 2*len(key) + entryOverhead + r.size()
	if size > c.maxBytes/8 {
		return // one result must not empty the cache
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[key]; ok {
		c.drop(e)
	}
	c.entries[key] = c.order.PushFront(&cached{key: key, result: r, bytes: size})
	c.bytes += size
	for len(c.entries) > c.maxEntries || c.bytes > c.maxBytes {
		c.drop(c.order.Back())
	}
}

func (c *cache) drop(e *list.Element) {
	old := c.order.Remove(e).(*cached)
	delete(c.entries, old.key)
	c.bytes -= old.bytes
}

// entryOverhead is about what an entry takes beside its key and its result.
const entryOverhead = 256
