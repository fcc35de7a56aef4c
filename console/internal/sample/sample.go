// Package sample has people, requests and a recording that look like real
// ones, for tests of the console and for working on its page.
package sample

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/http"
	"strings"
	"sync"
	"time"

	"gatehouse/console"
	"gatehouse/core/event"
	"gatehouse/recorder"
)

const issuer = "https://id.example.com"

// People are who may sign in, by their subject. The agent asks; Alice and Bob
// may decide; Carol may do neither, and audits.
var People = map[string]event.Principal{
	"agent": {Issuer: issuer, Subject: "agent", Name: "reporting-agent@example.com", Groups: []string{"agents"}},
	"alice": {Issuer: issuer, Subject: "alice", Name: "alice@example.com", Groups: []string{"dba", "auditors"}},
	"bob":   {Issuer: issuer, Subject: "bob", Name: "bob@example.com", Groups: []string{"dba"}},
	"carol": {Issuer: issuer, Subject: "carol", Name: "carol@example.com", Groups: []string{"auditors"}},
}

// A SignIn takes a person's subject for a proof. It is a console.SignIn.
type SignIn struct {
	mu  sync.Mutex
	out map[string]bool
}

// Principal returns who the bearer token or else the cookie "who" names.
func (s *SignIn) Principal(r *http.Request) (event.Principal, error) {
	who, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !bearer {
		cookie, err := r.Cookie("who")
		if err != nil {
			return event.Principal{}, err
		}
		who = cookie.Value
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := People[who]
	if !ok || s.out[who] {
		return event.Principal{}, errors.New("nobody")
	}
	return p, nil
}

// Ban ends the sign-in of who.
func (s *SignIn) Ban(who string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out == nil {
		s.out = map[string]bool{}
	}
	s.out[who] = true
}

// Routes adds nothing: there is no way in but to know who one is.
func (s *SignIn) Routes(*http.ServeMux) {}

// Session returns the agent's session.
func Session(id string, start time.Time) *event.Session {
	return &event.Session{
		ID: id, Gate: "gate-1", Protocol: "sample", Resource: "orders", Policy: "v12",
		Principal: People["agent"], Client: "10.1.4.23:51334", Start: start,
		Attrs: []event.Attr{{Key: "db.namespace", Value: "orders"}, {Key: "postgres.application_name", Value: "psql"}},
	}
}

// Held returns a request of the agent's that waits for the group dba.
func Held(id, statement string, params ...string) *event.Pending {
	now := time.Now()
	p := &event.Pending{
		ID:       id,
		Session:  Session("01JDB8M2Q4T6", now.Add(-3*time.Minute)),
		Exchange: 4,
		Request: &event.Request{
			Operation: "execute",
			Payload:   []byte(statement),
			Labels:    []event.Attr{{Key: "risk", Value: "70"}, {Key: "data", Value: "personal"}, {Key: "writes", Value: "public.customers"}},
			Attrs: []event.Attr{
				{Key: "db.namespace", Value: "orders"},
				{Key: "postgres.search_path", Value: `"$user", public`},
				{Key: "postgres.role", Value: "app_writer"},
			},
		},
		Verdict:   event.Verdict{Action: event.Hold, Rule: "approve/customers", Reason: "writes to customer data need a second pair of eyes"},
		Approvers: []string{"dba"},
		Since:     now,
		Expires:   now.Add(5 * time.Minute),
	}
	for _, v := range params {
		p.Request.Params = append(p.Request.Params, []byte(v))
	}
	copy(p.Digest[:], "digest of "+id)
	return p
}

// Open is the attribute of a request in an open transaction that holds locks.
var Open = []event.Attr{
	{Key: "db.transaction", Value: "open"},
	{Key: "db.locks", Value: "RowExclusiveLock on public.customers"},
}

// Sessions are recordings in memory. It is a console.Sessions.
type Sessions []Recording

// A Recording is one session's.
type Recording struct {
	Info   console.SessionInfo
	Frames []event.Frame
	Broken bool // cannot be read to its end
}

// List returns the sessions that q selects.
func (s Sessions) List(_ context.Context, q console.Query) ([]console.SessionInfo, error) {
	var infos []console.SessionInfo
	for _, r := range s {
		i := r.Info
		who := strings.ToLower(i.Principal.Name + " " + i.Principal.Subject)
		if len(infos) == q.Limit || q.Before != "" && i.ID >= q.Before || q.Resource != "" && q.Resource != i.Resource ||
			!strings.Contains(who, strings.ToLower(q.Who)) || i.Start.Before(q.From) || !q.To.IsZero() && i.Start.After(q.To) {
			continue
		}
		infos = append(infos, i)
	}
	return infos, nil
}

func (s Sessions) find(id string) (Recording, error) {
	for _, r := range s {
		if r.Info.ID == id {
			return r, nil
		}
	}
	return Recording{}, fmt.Errorf("session %q: %w", id, fs.ErrNotExist)
}

// Transcript returns what happened in a session.
func (s Sessions) Transcript(_ context.Context, id string) (iter.Seq2[recorder.Entry, error], error) {
	r, err := s.find(id)
	if err != nil {
		return nil, err
	}
	frames := func(yield func(event.Frame, error) bool) {
		for _, f := range r.Frames {
			if !yield(f, nil) {
				return
			}
		}
		if r.Broken {
			yield(event.Frame{}, errors.New("piece 2 was altered"))
		}
	}
	return recorder.Transcript(frames, recorder.Decoders{"sample": func() recorder.Decoder { return decoder{} }}), nil
}

// Objects returns the one file of a session.
func (s Sessions) Objects(_ context.Context, id string) (iter.Seq2[console.Object, error], error) {
	r, err := s.find(id)
	if err != nil {
		return nil, err
	}
	return func(yield func(console.Object, error) bool) {
		var b []byte
		for _, f := range r.Frames {
			b = f.Append(b)
		}
		if !yield(console.Object{Name: "sessions/" + r.Info.Start.UTC().Format("2006/01/02/") + id + "/000001.piece", Size: int64(len(b)), Time: r.Info.Start, Body: bytes.NewReader(b)}, nil) {
			return
		}
		if r.Broken {
			yield(console.Object{}, errors.New("piece 2 cannot be had"))
		}
	}, nil
}

// A decoder reads lines: the first of an exchange names the columns, the
// others are rows, tabs between values. A backslash and N is NULL.
type decoder struct{}

func (decoder) Decode(f *event.Frame, emit func(recorder.Part) error) error {
	if f.Kind != event.KindData {
		return nil
	}
	lines := strings.Split(strings.TrimSuffix(string(f.Payload), "\n"), "\n")
	var fields []event.Field
	for name := range strings.SplitSeq(lines[0], "\t") {
		fields = append(fields, event.Field{Name: name, Type: "text"})
	}
	if err := emit(recorder.Part{Fields: fields}); err != nil {
		return err
	}
	for _, l := range lines[1:] {
		row := [][]byte{}
		for v := range strings.SplitSeq(l, "\t") {
			if v == `\N` {
				row = append(row, nil)
				continue
			}
			row = append(row, []byte(v))
		}
		if err := emit(recorder.Part{Row: row}); err != nil {
			return err
		}
	}
	return nil
}
