package recorder

import (
	"maps"
	"math"
	"slices"
	"time"

	"gatehouse/core/event"
)

// maxExchanges is of how many exchanges of a session it is remembered that they
// go on.
const maxExchanges = 16384

// Exchanges are those of a session that have no outcome, or one after which
// they may go on.
type exchanges struct {
	state    map[uint64]exchangeState
	overflow bool // there were more than maxExchanges
}

type exchangeState uint8

const (
	ended     exchangeState = iota // not in the map
	open                           // has no outcome since its last frame
	suspended                      // more data makes it open again
)

func (x *exchanges) clone() exchanges { return exchanges{maps.Clone(x.state), x.overflow} }

// observe follows the session's frames.
func (x *exchanges) observe(f *event.Frame) {
	switch f.Kind {
	case event.KindRequest:
		x.set(f.Exchange, open)
	case event.KindHead, event.KindData:
		if x.state[f.Exchange] == suspended {
			x.set(f.Exchange, open)
		}
	case event.KindOutcome:
		var o event.Outcome
		if o.Decode(f.Payload) == nil && o.Status == "suspended" {
			x.set(f.Exchange, suspended)
			return
		}
		delete(x.state, f.Exchange)
	}
}

func (x *exchanges) set(id uint64, s exchangeState) {
	if s == ended {
		delete(x.state, id)
		return
	}
	if id == 0 {
		return // no exchange
	}
	if _, known := x.state[id]; !known && len(x.state) >= maxExchanges {
		maps.DeleteFunc(x.state, func(_ uint64, s exchangeState) bool { return s == suspended })
		if len(x.state) >= maxExchanges {
			x.overflow = true
			return
		}
	}
	if x.state == nil {
		x.state = make(map[uint64]exchangeState)
	}
	x.state[id] = s
}

// A change is what became of exchanges in a piece. The chain's file keeps it
// when the piece is no longer in the spool.
type change struct {
	state    map[uint64]exchangeState
	overflow bool
}

// to returns what leads from x to y.
func (x *exchanges) to(y *exchanges) change {
	c := change{make(map[uint64]exchangeState), y.overflow}
	for id := range x.state {
		if _, still := y.state[id]; !still {
			c.state[id] = ended
		}
	}
	for id, s := range y.state {
		if x.state[id] != s {
			c.state[id] = s
		}
	}
	return c
}

func (x *exchanges) apply(c change) {
	for id, s := range c.state {
		x.set(id, s)
	}
	x.overflow = x.overflow || c.overflow
}

// Tags of a change, by state.
var changeTags = map[exchangeState]uint64{open: 6, ended: 7, suspended: 8}

const overflowTag = 9

func (c *change) append(b []byte) []byte {
	for _, id := range slices.Sorted(maps.Keys(c.state)) {
		b = event.AppendUint(b, changeTags[c.state[id]], id)
	}
	if c.overflow {
		b = event.AppendUint(b, overflowTag, 1)
	}
	return b
}

func (c *change) element(tag uint64, v []byte) error {
	if tag == overflowTag {
		c.overflow = true
		return nil
	}
	for s, t := range changeTags {
		if t != tag {
			continue
		}
		id, err := event.DecodeUint(v, math.MaxUint64)
		if err != nil {
			return err
		}
		if c.state == nil {
			c.state = make(map[uint64]exchangeState)
		}
		c.state[id] = s
	}
	return nil
}

// conclude appends frames that say of every open exchange that its outcome is
// not known.
func (x *exchanges) conclude(b []byte) []byte {
	o := event.Outcome{Status: "unknown"}
	payload := o.Append(nil)
	for _, id := range slices.Sorted(maps.Keys(x.state)) {
		if x.state[id] == open {
			f := event.Frame{Kind: event.KindOutcome, Exchange: id, Time: time.Now(), Payload: payload}
			b = f.Append(b)
		}
	}
	if x.overflow {
		b = appendNotice(b, event.KindNotice, untracked)
	}
	return b
}
