package console

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"time"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

// What bounds the pages of sessions.
const (
	// DefaultPage and MaxPage are how many sessions or exchanges one
	// response has.
	DefaultPage, MaxPage = 50, 200
	// maxReads is how many recordings are read at a time for the console.
	maxReads = 4
)

// Sessions is what is recorded. Its methods are safe for concurrent use.
type Sessions interface {
	// List returns up to q.Limit of the sessions that q selects, newest
	// first.
	List(ctx context.Context, q Query) ([]SessionInfo, error)
	// Transcript returns what happened in a session. If there is no such
	// session, the error is fs.ErrNotExist.
	Transcript(ctx context.Context, id string) (iter.Seq2[recorder.Entry, error], error)
	// Objects returns the files that a session's recording is stored in. If
	// there is no such session, the error is fs.ErrNotExist.
	Objects(ctx context.Context, id string) (iter.Seq2[Object, error], error)
}

// A Query selects sessions. Zero fields select all.
type Query struct {
	Resource string // exactly
	Who      string // a part of the principal's name or subject, in either case
	From, To time.Time
	Before   string // sessions with a smaller ID: the next page
	Limit    int
}

// A SessionInfo is one session, in short.
type SessionInfo struct {
	event.Session
	End   time.Time // zero while it goes on
	Why   string    // why it ended
	Bytes int64     // of its recording so far
}

// An Object is one file. Body is valid until the next step of the iteration,
// which closes it.
type Object struct {
	Name string // slash-separated
	Size int64
	Time time.Time
	Body io.Reader
}

// A Session is one session, as lists show it.
type Session struct {
	ID        string    `json:"id"`
	Gate      string    `json:"gate"`
	Protocol  string    `json:"protocol"`
	Resource  string    `json:"resource"`
	Policy    string    `json:"policy"`
	Principal Principal `json:"principal"`
	Client    string    `json:"client"`
	Attrs     []Attr    `json:"attrs"`
	Start     time.Time `json:"start"`
	End       time.Time `json:"end,omitzero"`
	Why       string    `json:"why,omitempty"`
	Bytes     int64     `json:"bytes,omitempty"`
}

func sessionView(s *event.Session) Session {
	return Session{
		ID: s.ID, Gate: s.Gate, Protocol: s.Protocol, Resource: s.Resource, Policy: s.Policy,
		Principal: principalView(s.Principal), Client: s.Client, Attrs: attrViews(s.Attrs), Start: s.Start,
	}
}

// A SessionPage is a list of Session. Next, unless empty, is the "before" of
// the page that follows.
type SessionPage struct {
	Sessions []Session `json:"sessions"`
	Next     string    `json:"next,omitempty"`
}

// listSessions returns sessions, newest first. Its query parameters are those
// of Query: resource, who, from, to, before, limit.
func (c *Console) listSessions(w http.ResponseWriter, r *http.Request, by event.Principal) error {
	q, err := parseQuery(r.URL.Query())
	if err != nil {
		return err
	}
	limit := q.Limit
	q.Limit++ // to see whether there is another page
	infos, err := c.Sessions.List(r.Context(), q)
	if err != nil {
		return fmt.Errorf("list sessions: %w", err)
	}
	page := SessionPage{Sessions: []Session{}}
	if len(infos) > limit {
		infos = infos[:limit]
		page.Next = infos[limit-1].ID
	}
	for i := range infos {
		s := sessionView(&infos[i].Session)
		s.End, s.Why, s.Bytes = infos[i].End, infos[i].Why, infos[i].Bytes
		page.Sessions = append(page.Sessions, s)
	}
	return writeJSON(w, http.StatusOK, page)
}

func parseQuery(v url.Values) (Query, error) {
	q := Query{Resource: v.Get("resource"), Who: v.Get("who"), Before: v.Get("before")}
	for name, t := range map[string]*time.Time{"from": &q.From, "to": &q.To} {
		if s := v.Get(name); s != "" {
			var err error
			if *t, err = time.Parse(time.RFC3339, s); err != nil {
				return q, badParameter(name, "a time like 2026-01-02T15:04:05Z")
			}
		}
	}
	var err error
	q.Limit, err = number(v, "limit", DefaultPage, 1, MaxPage)
	return q, err
}

// number returns the query parameter name, or the default if it is not there.
func number(v url.Values, name string, otherwise, lowest, highest int) (int, error) {
	s := v.Get(name)
	if s == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < lowest || n > highest {
		return 0, badParameter(name, fmt.Sprintf("a number from %d to %d", lowest, highest))
	}
	return n, nil
}

func badParameter(name, want string) error {
	return &apiError{http.StatusBadRequest, "the parameter " + name + " is wrong", "give " + want}
}

var errNoSession = &apiError{http.StatusNotFound, "there is no such session", "look at the list of sessions; old ones may be past their retention"}

// reading runs f while at most maxReads do.
func (c *Console) reading(ctx context.Context, f func() error) error {
	select {
	case c.reads <- struct{}{}:
		defer func() { <-c.reads }()
		return f()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// getSession returns what happened in a session, by pages of exchanges. Its
// query parameters: after, an exchange, and limit select the page; exchange
// selects one exchange, and rows how many of its rows to pass over.
func (c *Console) getSession(w http.ResponseWriter, r *http.Request, by event.Principal) error {
	v := r.URL.Query()
	t := transcript{rows: shownRows}
	var err error
	if t.limit, err = number(v, "limit", DefaultPage, 1, MaxPage); err != nil {
		return err
	}
	after, err := number(v, "after", 0, 0, maxInt)
	if err != nil {
		return err
	}
	only, err := number(v, "exchange", 0, 1, maxInt)
	if err != nil {
		return err
	}
	if t.skip, err = number(v, "rows", 0, 0, maxInt); err != nil {
		return err
	}
	t.after = uint64(after)
	if only != 0 {
		t.after, t.limit, t.rows = uint64(only)-1, 1, moreRows
	}
	var view SessionView
	err = c.reading(r.Context(), func() error {
		entries, err := c.Sessions.Transcript(r.Context(), r.PathValue("id"))
		if err != nil {
			return err
		}
		view, err = t.read(entries)
		if err != nil {
			c.Log.Warn("a recording cannot be read to its end", "session", r.PathValue("id"), "error", err)
			view.Broken = true
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return errNoSession
	}
	if err != nil {
		return fmt.Errorf("read session: %w", err)
	}
	return writeJSON(w, http.StatusOK, view)
}

const maxInt = 1<<31 - 1

// getRecording returns the files of a session's recording as a tar archive.
func (c *Console) getRecording(w http.ResponseWriter, r *http.Request, by event.Principal) error {
	id := r.PathValue("id")
	objects, err := c.Sessions.Objects(r.Context(), id)
	if errors.Is(err, fs.ErrNotExist) {
		return errNoSession
	}
	if err != nil {
		return fmt.Errorf("open recording: %w", err)
	}
	c.Log.Info("recording downloaded", "session", id, "issuer", by.Issuer, "subject", by.Subject)
	w.Header().Set("Content-Type", "application/x-tar")
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": "gatehouse-" + id + ".tar"}))
	if err := archive(w, id, objects); err != nil {
		// Whoever downloads must see that it is not whole.
		c.Log.Warn("a download ended early", "session", id, "error", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}

func archive(w io.Writer, id string, objects iter.Seq2[Object, error]) error {
	t := tar.NewWriter(w)
	for o, err := range objects {
		if err != nil {
			return err
		}
		h := &tar.Header{Name: path.Join(id, path.Join("/", o.Name)), Mode: 0o444, Size: o.Size, ModTime: o.Time, Format: tar.FormatPAX}
		if err := t.WriteHeader(h); err != nil {
			return fmt.Errorf("write archive: %w", err)
		}
		if _, err := io.Copy(t, o.Body); err != nil {
			return fmt.Errorf("write archive: %w", err)
		}
	}
	return t.Close()
}
