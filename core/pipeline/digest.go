package pipeline

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"

	"gatehouse/core/event"
)

// digestDomain separates the digests of approvals from all else that is keyed.
// It changes with what goes into them.
const digestDomain = "gatehouse approval 2"

// digest binds an approval to the session, with its principal, its resource and
// the policy's version; to the request and its parameter values as the server
// gets them, whatever of them is shown; and to the context that it would run in.
// It is keyed, so that nobody can guess values by it.
func (x *Exchange) digest() (sum [sha256.Size]byte) {
	key := hmac.New(sha256.New, x.s.key)
	key.Write([]byte(digestDomain))
	m := hmac.New(sha256.New, key.Sum(nil))
	part := func(b []byte) {
		var n [binary.MaxVarintLen64]byte
		m.Write(n[:binary.PutUvarint(n[:], uint64(len(b)))])
		m.Write(b)
	}
	part(x.t.Session.Append(nil))
	part(binary.AppendUvarint(nil, x.ID))
	r := event.Request{Operation: x.req.Operation, Payload: x.req.Payload, Params: x.req.Params, Cut: x.req.Cut, Attrs: x.req.Attrs}
	if x.req.Sent != nil {
		r.Payload, r.Params = x.req.Sent.Payload, x.req.Sent.Params
	}
	part(r.Append(nil))
	part((&event.Request{Attrs: x.req.Bound}).Append(nil))
	m.Sum(sum[:0])
	return sum
}
