package pipeline

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"

	"gatehouse/core/event"
)

// AppendMasked appends to b what is recorded and shown in the place of v, a value
// of a request whose columns are treated so: a keyed hash, by which equal values
// can be told, or a constant.
func (s *Session) AppendMasked(b []byte, t event.Treatment, v []byte) []byte {
	if t.Kind != event.Hash {
		return append(b, redacted...)
	}
	p := plan{mac: hmac.New(sha256.New, s.key)}
	p.mac.Write(v)
	return p.appendMAC(b)
}

// AppendDigest appends to b a keyed digest of v, which cannot be shown.
func (s *Session) AppendDigest(b, v []byte) []byte {
	m := hmac.New(sha256.New, s.key)
	m.Write([]byte("gatehouse masked\x00"))
	m.Write(v)
	return fmt.Appendf(b, "%x", m.Sum(nil))
}

// A secret is what a held request sends, until it waits no more.
type secret struct {
	mu   sync.Mutex
	sent *event.Sent
}

// drop forgets what it holds. A nil secret holds nothing.
func (s *secret) drop() {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = nil
}

var errNotHeld = errors.New("the request does not wait any more")

// reveal returns what event.Pending has as Reveal.
func (s *secret) reveal(session *Session, exchange uint64, id string) func(context.Context, event.Principal) (*event.Sent, error) {
	return func(ctx context.Context, by event.Principal) (*event.Sent, error) {
		s.mu.Lock()
		sent := s.sent
		s.mu.Unlock()
		if sent == nil {
			return nil, errNotHeld
		}
		n := event.Notice{Code: "revealed", Text: "the masked values of approval " + id + " were revealed to " + by.Name, Attrs: []event.Attr{
			{Key: "gatehouse.approval", Value: id}, {Key: "gatehouse.issuer", Value: by.Issuer}, {Key: "gatehouse.subject", Value: by.Subject},
		}}
		if err := session.record(event.KindNotice, exchange, n.Append); err != nil {
			return nil, err
		}
		if err := session.Commit(ctx); err != nil {
			return nil, err
		}
		return sent, nil
	}
}
