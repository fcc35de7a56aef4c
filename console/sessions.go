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
	// maxDownloads is how many recordings are downloaded at a time.
	maxDownloads = 4
	// maxReads is how many requests read recordings at a time, and maxRead
	// how long one may.
	maxReads = 4
	maxRead  = 30 * time.Second
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
	Name string // in the store: "sessions/2026/11/23/ID/000000.piece"
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
	var infos []SessionInfo
	err = c.reading(r.Context(), func(ctx context.Context) (err error) {
		infos, err = c.Sessions.List(ctx, q)
		return err
	})
	if noSession(err) {
		return badParameter("before", "a session's ID, or leave it out")
	}
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

var errEncrypted = &apiError{http.StatusConflict, "the recording is encrypted, and the gate has no identity that opens it", "download it, unpack it and use gatehouse sessions replay --store DIRECTORY --identity REFERENCE, or have recording.encryption.identity set"}

// noSession is whether err means that there is no such session.
func noSession(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, recorder.ErrNotFound)
}

// reading runs f, which reads recordings, while at most maxReads do and for no
// longer than maxRead.
func (c *Console) reading(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, maxRead)
	defer cancel()
	select {
	case c.reads <- struct{}{}:
		defer func() { <-c.reads }()
	case <-ctx.Done():
		return errBusy
	}
	err := f(ctx)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errBusy
	}
	return err
}

var errBusy = &apiError{http.StatusServiceUnavailable, "reading the recordings takes too long", "narrow what you look for, by dates for example, or use the gatehouse sessions command"}

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
	err = c.reading(r.Context(), func(ctx context.Context) error {
		entries, err := c.Sessions.Transcript(ctx, r.PathValue("id"))
		if err != nil {
			return err
		}
		view, err = t.read(entries)
		if errors.Is(err, recorder.ErrNoIdentity) {
			return errEncrypted
		}
		if err != nil && ctx.Err() == nil {
			c.Log.Warn("a recording cannot be read to its end", "session", r.PathValue("id"), "error", err)
			view.Broken = true
		}
		return nil
	})
	if noSession(err) {
		return errNoSession
	}
	if err != nil {
		return fmt.Errorf("read session: %w", err)
	}
	return writeJSON(w, http.StatusOK, view)
}

const maxInt = 1<<31 - 1

// getRecording returns the files of a session's recording as a tar archive: a
// store that has this session alone, and no log.
func (c *Console) getRecording(w http.ResponseWriter, r *http.Request, by event.Principal) error {
	select {
	case c.downloads <- struct{}{}:
		defer func() { <-c.downloads }()
	default:
		return &apiError{http.StatusServiceUnavailable, "too many recordings are being downloaded", "try again in a moment"}
	}
	id := r.PathValue("id")
	objects, err := c.Sessions.Objects(r.Context(), id)
	if noSession(err) {
		return errNoSession
	}
	if err != nil {
		return fmt.Errorf("open recording: %w", err)
	}
	c.Log.Info("recording downloaded", "session", id, "issuer", by.Issuer, "subject", by.Subject)
	w.Header().Set("Content-Type", "application/x-tar")
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": "gatehouse-" + id + ".tar"}))
	if err := writeArchive(&patientWriter{w, http.NewResponseController(w)}, objects); err != nil {
		// Whoever downloads must see that it is not whole.
		c.Log.Warn("a download ended early", "session", id, "error", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}

// A patientWriter lets a response take long, as long as it gets on.
type patientWriter struct {
	w       io.Writer
	control *http.ResponseController
}

// maxStall is how long a download may not get on.
const maxStall = 30 * time.Second

func (p *patientWriter) Write(b []byte) (int, error) {
	if err := p.control.SetWriteDeadline(time.Now().Add(maxStall)); err != nil {
		return 0, err
	}
	return p.w.Write(b)
}

func writeArchive(w io.Writer, objects iter.Seq2[Object, error]) error {
	t := tar.NewWriter(w)
	for o, err := range objects {
		if err != nil {
			return err
		}
		h := &tar.Header{Name: path.Join("/", o.Name)[1:], Mode: 0o444, Size: o.Size, ModTime: o.Time, Format: tar.FormatPAX}
		if err := t.WriteHeader(h); err != nil {
			return fmt.Errorf("write archive: %w", err)
		}
		if _, err := io.Copy(t, o.Body); err != nil {
			return fmt.Errorf("write archive: %w", err)
		}
	}
	return t.Close()
}
