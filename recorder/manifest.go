package recorder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"gatehouse/core/event"
)

// A Summary is what a list of recordings shows of a session.
type Summary struct {
	ID        string    `json:"session"`
	Gate      string    `json:"gate"`
	Protocol  string    `json:"protocol"`
	Resource  string    `json:"resource"`
	Policy    string    `json:"policy"`
	Principal Principal `json:"principal"`
	Client    string    `json:"client"`
	Start     time.Time `json:"start"`
	// End is the time of the last frame so far.
	End time.Time `json:"end"`
	// Open is whether the session has no last piece yet: it goes on, or its
	// gate has ended and not restarted.
	Open bool `json:"open,omitempty"`
	// Code and Reason say why the session ended.
	Code   string `json:"code,omitempty"`
	Reason string `json:"reason,omitempty"`
	Frames uint64 `json:"frames"`
	Bytes  uint64 `json:"bytes"` // of the frames, uncompressed
	Counts
	// Encrypted is whether Resource, Policy, Principal, Client, Code and
	// Reason are missing because no identity opens them.
	Encrypted bool `json:"encrypted,omitempty"`
}

// A Principal is who a session belongs to.
type Principal struct {
	Issuer  string   `json:"issuer"`
	Subject string   `json:"subject"`
	Name    string   `json:"name"`
	Groups  []string `json:"groups,omitempty"`
}

// A Manifest is stored beside a session's pieces when the last of them is.
type Manifest struct {
	Format int `json:"format"`
	Summary
	Retention string `json:"retention"`
	// Private is an age file with the fields of the Summary that are
	// missing where recordings are encrypted, as JSON.
	Private []byte          `json:"private,omitempty"`
	Pieces  []ManifestPiece `json:"pieces"`
}

// A ManifestPiece is one piece of a Manifest, in order.
type ManifestPiece struct {
	SHA256 string `json:"sha256"`
	Stored uint64 `json:"stored"` // size of the object, in bytes
	Frames uint64 `json:"frames"`
}

const (
	manifestFormat = 1
	// maxManifest bounds a manifest: a piece a second for a week.
	maxManifest = 96 << 20
)

func manifestObject(s *event.Session) string { return sessionPrefix(s.Start, s.ID) + manifestName }

const manifestName = "manifest.json"

func digest(b []byte) Digest { return sha256.Sum256(b) }

// String returns d in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

func newSummary(s *event.Session) Summary {
	p := s.Principal
	return Summary{
		ID: s.ID, Gate: s.Gate, Protocol: s.Protocol, Resource: s.Resource, Policy: s.Policy,
		Principal: Principal{p.Issuer, p.Subject, p.Name, p.Groups},
		Client:    s.Client, Start: s.Start.UTC(), End: s.Start.UTC(), Open: true,
	}
}

// add counts a piece.
func (s *Summary) add(h *Header) {
	s.Frames += h.Frames
	s.Bytes += h.Size
	s.Requests += h.Requests
	s.Held += h.Held
	s.Blocked += h.Blocked
	if h.To.After(s.End) {
		s.End = h.To
	}
	s.Open = !h.Last
}

// newManifest returns the manifest of a session whose chain is whole. The same
// chain gives the same bytes.
func newManifest(info *event.Session, links []*sealed) ([]byte, error) {
	if info == nil || len(links) == 0 {
		return nil, errors.New("make manifest: no chain")
	}
	m := Manifest{Format: manifestFormat, Summary: newSummary(info)}
	for i, l := range links {
		if l.header.Sequence != uint64(i) {
			return nil, fmt.Errorf("make manifest: piece %d of session %s is missing", i, info.ID)
		}
		m.add(&l.header)
		m.Retention = l.header.Retention
		m.Pieces = append(m.Pieces, ManifestPiece{l.digest.String(), l.size, l.header.Frames})
		if l.close != nil {
			m.Code, m.Reason = l.close.Code, l.close.Text
		}
		m.Private = l.private
	}
	if m.Private != nil {
		m.blank()
	}
	b, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return nil, fmt.Errorf("make manifest: %w", err)
	}
	return append(b, '\n'), nil
}

// conceal returns what of the session's manifest is to be encrypted, once it
// ended with why. It is made once, since it is random.
func (s *Session) conceal(why *event.Notice) ([]byte, error) {
	sum := newSummary(&s.info)
	sum.Code, sum.Reason = why.Code, why.Text
	return sum.conceal(s.r.recipients)
}

// putManifest stores the manifest of a session whose pieces are stored, and
// returns it.
func (s *Session) putManifest(ctx context.Context) ([]byte, error) {
	info, links, _, err := readChain(s.path(0, kindChain))
	if err != nil {
		return nil, fmt.Errorf("make manifest: %w", err)
	}
	b, err := newManifest(info, links)
	if err != nil {
		return nil, err
	}
	last := &links[len(links)-1].header
	return b, putOnce(ctx, s.r.o.Store, manifestObject(&s.info), b, s.r.o.lock(last.Retention, last.To))
}
