package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strings"

	"gatehouse/console"
	"gatehouse/core/event"
	"gatehouse/recorder"
)

// maxObject is the size of the largest object of a recording that the console
// offers for download, in bytes.
const maxObject = 1 << 30

// An archive shows the console what is recorded.
type archive struct {
	reader *recorder.Reader
	store  recorder.Store
}

var _ console.Sessions = (*archive)(nil)

// List implements console.Sessions.
func (a *archive) List(ctx context.Context, q console.Query) ([]console.SessionInfo, error) {
	page := recorder.Query{Limit: recorder.DefaultListLimit}
	if q.Before != "" {
		var err error
		if page.Before, err = a.reader.Find(ctx, q.Before); err != nil {
			return nil, err
		}
	}
	var found []console.SessionInfo
	for {
		summaries, err := a.reader.List(ctx, page)
		if err != nil {
			return nil, err
		}
		for i := range summaries {
			s := &summaries[i]
			if !q.From.IsZero() && s.Start.Before(q.From) && s.Code != "unreadable" {
				return found, nil // the rest is older still
			}
			if !selects(&q, s) {
				continue
			}
			if found = append(found, sessionInfo(s)); q.Limit > 0 && len(found) == q.Limit {
				return found, nil
			}
		}
		if len(summaries) < page.Limit {
			return found, nil
		}
		page.Before = summaries[len(summaries)-1].Key()
	}
}

func selects(q *console.Query, s *recorder.Summary) bool {
	who := strings.ToLower(q.Who)
	switch {
	case q.Resource != "" && s.Resource != q.Resource,
		!q.To.IsZero() && s.Start.After(q.To),
		!strings.Contains(strings.ToLower(s.Principal.Name), who) && !strings.Contains(strings.ToLower(s.Principal.Subject), who):
		return false
	}
	return true
}

func sessionInfo(s *recorder.Summary) console.SessionInfo {
	info := console.SessionInfo{
		Session: event.Session{
			ID: s.ID, Gate: s.Gate, Protocol: s.Protocol, Resource: s.Resource, Policy: s.Policy,
			Principal: event.Principal{Issuer: s.Principal.Issuer, Subject: s.Principal.Subject, Name: s.Principal.Name, Groups: s.Principal.Groups},
			Client:    s.Client, Start: s.Start,
		},
		Why:   s.Reason,
		Bytes: int64(s.Bytes),
	}
	if s.Encrypted {
		info.Principal.Name, info.Resource = "(encrypted)", "(encrypted)"
	}
	if !s.Open {
		info.End = s.End
	}
	return info
}

// Transcript implements console.Sessions.
func (a *archive) Transcript(ctx context.Context, id string) (iter.Seq2[recorder.Entry, error], error) {
	if _, err := a.find(ctx, id); err != nil {
		return nil, err
	}
	return recorder.Transcript(a.reader.Frames(ctx, id), decoders), nil
}

// Objects implements console.Sessions.
func (a *archive) Objects(ctx context.Context, id string) (iter.Seq2[console.Object, error], error) {
	session, err := a.find(ctx, id)
	if err != nil {
		return nil, err
	}
	return func(yield func(console.Object, error) bool) {
		for name, err := range a.store.List(ctx, "sessions/"+session.Key()+"/") {
			var o console.Object
			if err == nil {
				o, err = a.object(ctx, name)
				o.Time = session.End
			}
			if !yield(o, err) || err != nil {
				return
			}
		}
	}, nil
}

// find returns a session; fs.ErrNotExist if there is no such session.
func (a *archive) find(ctx context.Context, id string) (recorder.Summary, error) {
	s, err := a.reader.Summary(ctx, id)
	if errors.Is(err, recorder.ErrNotFound) {
		return s, fs.ErrNotExist
	}
	return s, err
}

func (a *archive) object(ctx context.Context, name string) (console.Object, error) {
	b, err := readObject(ctx, a.store, name)
	if err != nil {
		return console.Object{}, err
	}
	return console.Object{Name: name, Size: int64(len(b)), Body: bytes.NewReader(b)}, nil
}

// readObject reads an object whole.
func readObject(ctx context.Context, s recorder.Store, name string) ([]byte, error) {
	r, err := s.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxObject+1))
	if err == nil && len(b) > maxObject {
		err = fmt.Errorf("more than %d bytes", maxObject)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}
