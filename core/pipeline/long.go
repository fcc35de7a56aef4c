package pipeline

import (
	"fmt"
	"unicode/utf8"

	"gatehouse/core/event"
)

// A Long treats one value that is too long to be given to Rows. What comes out
// is what Rows would have made of the value.
type Long struct {
	treating
	x    *Exchange
	k    int
	size int
}

// Inspected is whether a plugin looks at the values of the field at index k of
// those that Treated returned, so that Rows is to be given them.
func (x *Exchange) Inspected(k int) bool { return x.plan.watched[k] }

// Blind is whether NULL becomes what other values of the field at index k of those
// that Treated returned do.
func (x *Exchange) Blind(k int) bool { return x.plan.blind[k] }

// Passes is whether values of the field at index k of those that Treated returned
// stay as they are: only plugins in shadow look at them. There is no Long for
// them.
func (x *Exchange) Passes(k int) bool { return x.plan.treatments[k].Kind == event.Pass }

// Long begins the treatment of a value of the field at index k of those that
// Treated returned. It returns nil where the value becomes NULL. A value that a
// plugin wants to inspect, or that a fake depends on, is too long for that: it is
// redacted. Only one Long of
// an exchange may be in use.
func (x *Exchange) Long(k int) *Long {
	p := x.plan
	t := p.treatments[k]
	switch t.Kind {
	case event.Null:
		return nil
	case event.Inspect, event.Detect, event.Fake: // which depends on all of it
		t.Kind = event.Redact
	}
	l := &Long{x: x, k: k}
	l.begin(p, t, x.s.key)
	return l
}

// Append appends to b what a further part of the value's text becomes, as far
// as that is known.
func (l *Long) Append(b, part []byte) []byte {
	l.size += len(part)
	return l.append(b, part)
}

// End appends to b what is still missing. Where a plugin should have inspected
// the value, the recording says that it is redacted.
func (l *Long) End(b []byte) ([]byte, error) {
	if l.x.Inspected(l.k) {
		n := event.Notice{Code: "redacted", Text: fmt.Sprintf("a value of %q, of %d bytes, is redacted: it is too long to be inspected", l.x.plan.fields[l.k].Name, l.size)}
		if err := l.x.s.record(event.KindNotice, l.x.ID, n.Append); err != nil {
			return b, err
		}
	}
	return l.end(b), nil
}

// A treating is a value on its way through a treatment, at once or in parts.
type treating struct {
	event.Treatment
	p       *plan
	tail    []byte // for KeepLast: what is not starred yet
	starred bool
}

// begin begins a treatment that is neither Null nor one of a plugin's own.
func (t *treating) begin(p *plan, how event.Treatment, key []byte) {
	*t = treating{Treatment: how, p: p, tail: t.tail[:0]}
	if how.Kind == event.Hash {
		p.resetMAC(key)
	}
}

func (t *treating) append(b, part []byte) []byte {
	switch t.Kind {
	case event.Hash:
		t.p.mac.Write(part)
	case event.KeepLast:
		t.tail = append(t.tail, part...)
		whole := len(t.tail)
		for n := 1; n < utf8.UTFMax && n <= len(t.tail); n++ {
			if last := t.tail[len(t.tail)-n:]; utf8.RuneStart(last[0]) {
				if !utf8.FullRune(last) {
					whole -= n // more of it may come
				}
				break
			}
		}
		return t.star(b, utf8.RuneCount(t.tail[:whole])-int(t.Keep))
	}
	return b
}

func (t *treating) end(b []byte) []byte {
	switch t.Kind {
	case event.Redact:
		return append(b, redacted...)
	case event.Hash:
		return t.p.appendMAC(b)
	case event.KeepLast:
		n := utf8.RuneCount(t.tail)
		if n <= int(t.Keep) && !t.starred {
			return t.star(b, n) // a value that is no longer than what may stay
		}
		return append(t.star(b, n-int(t.Keep)), t.tail...)
	}
	return b
}

// star stars the first n characters of the tail.
func (t *treating) star(b []byte, n int) []byte {
	at := 0
	for ; n > 0; n-- {
		_, size := utf8.DecodeRune(t.tail[at:])
		at += size
		b = append(b, '*')
		t.starred = true
	}
	t.tail = t.tail[:copy(t.tail, t.tail[at:])]
	return b
}
