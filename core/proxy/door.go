package proxy

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"gatehouse/core/event"
)

// Limits bound what a Server accepts. Zero fields mean the default.
type Limits struct {
	// Connections is how many clients that proved who they are may be
	// served at a time, and Address how many of them with one address.
	Connections, Address int
	// Unauthenticated is how many connections there may be whose clients did
	// not prove who they are yet. One more cuts the oldest of the address
	// that has most of them. UnauthenticatedAddress is how many of them may
	// have one address. Further ones are refused.
	Unauthenticated, UnauthenticatedAddress int
	// Failures is how often clients with one address may fail to prove who
	// they are within a minute, before they must wait for its end.
	Failures int
}

// Defaults of Limits.
const (
	DefaultConnections            = 4096
	DefaultAddress                = 2048
	DefaultUnauthenticated        = 1024
	DefaultUnauthenticatedAddress = 256
	DefaultFailures               = 60
)

// maxRefusals is how many clients may be being told that they are refused, at a
// time. Further ones are cut without a word.
const maxRefusals = 64

func (l Limits) withDefaults() Limits {
	return Limits{
		Connections:            cmp.Or(l.Connections, DefaultConnections),
		Address:                cmp.Or(l.Address, DefaultAddress),
		Unauthenticated:        cmp.Or(l.Unauthenticated, DefaultUnauthenticated),
		UnauthenticatedAddress: cmp.Or(l.UnauthenticatedAddress, DefaultUnauthenticatedAddress),
		Failures:               cmp.Or(l.Failures, DefaultFailures),
	}
}

// Why connections are refused.
const (
	OverConnections            = "connections"
	OverAddress                = "address"
	OverUnauthenticated        = "unauthenticated"
	OverUnauthenticatedAddress = "unauthenticated_address"
	OverFailures               = "failures"
)

// A LimitError says that a connection is over a limit. It is temporary.
type LimitError struct {
	Limit string // one of Over…
	Wait  time.Duration
}

// Error says which limit.
func (e *LimitError) Error() string { return "over the limit " + e.Limit }

// Reason is for the client.
func (e *LimitError) Reason() string {
	switch e.Limit {
	case OverAddress, OverUnauthenticatedAddress:
		return "too many connections from your address"
	case OverFailures:
		return fmt.Sprintf("too many failed attempts from your address; wait %s", e.Wait.Round(time.Second))
	}
	return "too many connections"
}

// A guest is a connection that is being served.
type guest struct {
	conn     net.Conn
	from     netip.Addr
	number   int64 // in the order of their coming
	admitted bool  // proved who it is
}

// A door counts guests. It is safe for concurrent use.
type door struct {
	limits   Limits
	failures Throttle

	mu        sync.Mutex
	numbers   int64
	guests    map[*guest]struct{}
	strangers map[*guest]struct{}         // of guests, those that are not admitted
	from      map[netip.Addr]*addressLoad // of guests
	admitted  int
	refusing  int
	refused   map[string]int64 // by limit
}

type addressLoad struct{ strangers, admitted int }

func newDoor(l Limits) *door {
	l = l.withDefaults()
	return &door{
		limits: l, failures: Throttle{Limit: l.Failures},
		guests: make(map[*guest]struct{}), strangers: make(map[*guest]struct{}),
		from: make(map[netip.Addr]*addressLoad), refused: make(map[string]int64),
	}
}

// enter takes a connection in. A guest that is over a limit must be told so, by
// the error; nil is one to cut without a word.
func (d *door) enter(conn net.Conn) (*guest, error) {
	g := &guest{conn: conn, from: AddressOf(conn.RemoteAddr())}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.numbers++
	g.number = d.numbers
	if load := d.from[g.from]; load != nil && load.strangers >= d.limits.UnauthenticatedAddress {
		return d.refuse(g, OverUnauthenticatedAddress)
	}
	if len(d.strangers) >= d.limits.Unauthenticated {
		d.refused[OverUnauthenticated]++
		d.cutOldest()
	}
	d.guests[g], d.strangers[g] = struct{}{}, struct{}{}
	d.load(g.from).strangers++
	return g, nil
}

// refuse counts and bounds refusals. The caller holds mu.
func (d *door) refuse(g *guest, limit string) (*guest, error) {
	d.refused[limit]++
	if d.refusing >= maxRefusals {
		return nil, &LimitError{Limit: limit}
	}
	d.refusing++
	return g, &LimitError{Limit: limit}
}

// cutOldest ends the oldest connection of a stranger, of the address that has
// most: who holds many connections open without saying who they are loses them
// first. The caller holds mu.
func (d *door) cutOldest() {
	var victim *guest
	for g := range d.strangers {
		if victim == nil || cmp.Or(cmp.Compare(d.from[g.from].strangers, d.from[victim.from].strangers), cmp.Compare(victim.number, g.number)) > 0 {
			victim = g
		}
	}
	if victim != nil {
		d.forget(victim)
		victim.conn.Close()
	}
}

func (d *door) load(from netip.Addr) *addressLoad {
	if d.from[from] == nil {
		d.from[from] = &addressLoad{}
	}
	return d.from[from]
}

// admit counts a guest as one that proved who it is.
func (d *door) admit(g *guest) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, here := d.guests[g]; !here {
		d.refused[OverUnauthenticated]++
		return &LimitError{Limit: OverUnauthenticated} // it was cut meanwhile
	}
	load := d.from[g.from]
	if d.admitted >= d.limits.Connections {
		d.refused[OverConnections]++
		return &LimitError{Limit: OverConnections}
	}
	if load.admitted >= d.limits.Address {
		d.refused[OverAddress]++
		return &LimitError{Limit: OverAddress}
	}
	delete(d.strangers, g)
	g.admitted = true
	d.admitted++
	load.strangers--
	load.admitted++
	return nil
}

// leave lets a guest, or one that was refused, go.
func (d *door) leave(g *guest, refused bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if refused {
		d.refusing--
		return
	}
	d.forget(g)
}

// forget counts a guest out, once. The caller holds mu.
func (d *door) forget(g *guest) {
	if _, here := d.guests[g]; !here {
		return
	}
	delete(d.guests, g)
	delete(d.strangers, g)
	load := d.from[g.from]
	if g.admitted {
		d.admitted--
		load.admitted--
	} else {
		load.strangers--
	}
	if *load == (addressLoad{}) {
		delete(d.from, g.from)
	}
}

// authenticate is Env.Authenticate for one guest, whose address must wait where
// too much failed.
func (d *door) authenticate(g *guest, next func(context.Context, string) (event.Principal, error)) func(context.Context, string) (event.Principal, error) {
	return func(ctx context.Context, credential string) (event.Principal, error) {
		if wait := d.failures.Wait(g.from); wait > 0 {
			d.mu.Lock()
			d.refused[OverFailures]++
			d.mu.Unlock()
			return event.Principal{}, &LimitError{Limit: OverFailures, Wait: wait}
		}
		who, err := next(ctx, credential)
		if err != nil {
			d.failures.Fail(g.from)
			return event.Principal{}, err
		}
		return who, d.admit(g)
	}
}

// AddressOf is what limits for each address count by: the address, or the
// network of 64 bits that one of IP version 6 belongs to.
func AddressOf(a net.Addr) netip.Addr {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	addr := ap.Addr().Unmap().WithZone("")
	if addr.Is6() {
		prefix, _ := addr.Prefix(64) // of an address of 128 bits
		addr = prefix.Masked().Addr()
	}
	return addr
}

// throttleWindow is the minute within which a Throttle counts.
const throttleWindow = time.Minute

// maxThrottled bounds the addresses that a Throttle tells apart. Beyond that
// they share one count.
const maxThrottled = 10_000

// A Throttle bounds what addresses may do wrong within a minute, which begins
// with the first of it. It is safe for concurrent use.
type Throttle struct {
	Limit int

	mu      sync.Mutex
	windows map[netip.Addr]throttled
}

type throttled struct {
	until time.Time
	n     int
}

// Wait is how long an address must wait; zero is not at all.
func (t *Throttle) Wait(from netip.Addr) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	w, known := t.windows[from]
	if !known && len(t.windows) >= maxThrottled {
		w = t.windows[netip.Addr{}]
	}
	if w.n < t.Limit {
		return 0
	}
	return max(time.Until(w.until), 0)
}

// Fail counts a failure of an address.
func (t *Throttle) Fail(from netip.Addr) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.windows == nil {
		t.windows = make(map[netip.Addr]throttled)
	}
	if _, known := t.windows[from]; !known && len(t.windows) >= maxThrottled {
		for a, w := range t.windows {
			if !now.Before(w.until) {
				delete(t.windows, a)
			}
		}
		if len(t.windows) >= maxThrottled {
			from = netip.Addr{}
		}
	}
	w := t.windows[from]
	if !now.Before(w.until) {
		w = throttled{until: now.Add(throttleWindow)}
	}
	w.n++
	t.windows[from] = w
}
