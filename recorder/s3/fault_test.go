package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"gatehouse/core/event"
	"gatehouse/recorder"
)

// A fault answers a request in the place of the service, which real is.
type fault func(w http.ResponseWriter, r *http.Request, real http.Handler)

// status answers as services, and what stands before them, do.
func status(code int, s3Code string) fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		if s3Code == "" {
			http.Error(w, http.StatusText(code), code)
			return
		}
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(code)
		_, _ = io.WriteString(w, "<Error><Code>"+s3Code+"</Code><Message>no</Message></Error>")
	}
}

// hangUp ends the connection without an answer.
func hangUp(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

var faults = map[string]fault{
	"500":            status(500, "InternalError"),
	"502 of a proxy": status(502, ""),
	"503":            status(503, "SlowDown"),
	"403":            status(403, "AccessDenied"),
	"keys withdrawn": status(403, "InvalidAccessKeyId"),
	"no bucket":      status(404, "NoSuchBucket"),
	"404 of a proxy": status(404, ""),
	"bucket full":    status(507, "XMinioStorageFull"),
	"over the quota": status(400, "XMinioAdminBucketQuotaExceeded"),
	"no answer":      hangUp,
	"reset mid-body": func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength/2)
		hangUp(w, r, real)
	},
	"answer lost": func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		real.ServeHTTP(httptest.NewRecorder(), r)
		hangUp(w, r, real)
	},
	"half an answer": func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		answer := httptest.NewRecorder()
		real.ServeHTTP(answer, r)
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes()[:answer.Body.Len()/2])
		hangUp(w, r, real)
	},
	"wrong ETag, not stored": func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		if r.Method != http.MethodPut {
			real.ServeHTTP(w, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("ETag", `"`+strings.Repeat("0", 32)+`"`)
	},
	"wrong ETag, stored": func(w http.ResponseWriter, r *http.Request, real http.Handler) {
		answer := httptest.NewRecorder()
		real.ServeHTTP(answer, r)
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		w.Header().Set("ETag", `"`+strings.Repeat("0", 32)+`"`)
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	},
}

// faulty is how many requests meet a fault: more than the client tries by
// itself.
const faulty = 9

// TestFaults has a service fail in every way for a while: sessions go on, what
// they recorded is stored when it answers again, once and in order.
func TestFaults(t *testing.T) {
	m := newServer(t)
	m.bucket(t, "faults")
	u, err := url.Parse("http://" + m.address)
	if err != nil {
		t.Fatal(err)
	}
	real := reverseProxy(u)
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var left atomic.Int64
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if left.Add(-1) >= 0 {
					f(w, r, real)
					return
				}
				real.ServeHTTP(w, r)
			}))
			defer proxy.Close()
			o := m.options("faults")
			o.Prefix = strings.NewReplacer(" ", "-", ",", "").Replace(name)
			direct := open(t, o)
			o.Endpoint, o.Region = proxy.URL, "us-east-1"
			key, vkey, err := recorder.GenerateKey("gate.example/faults")
			if err != nil {
				t.Fatal(err)
			}
			r, err := recorder.Open(recorder.Options{Spool: t.TempDir(), Store: open(t, o), Key: key, LogEvery: 10 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			record(t, r, 0, 1)
			flush(t, r)
			left.Store(faulty)
			record(t, r, 1, 4)
			flush(t, r)
			if left.Load() > 0 {
				t.Errorf("%d requests less than were to fail", left.Load())
			}
			if st := r.Stats(); st.Backlog != 0 || st.Forked {
				t.Errorf("afterwards: %+v", st)
			}
			if err := r.Close(t.Context()); err != nil {
				t.Error(err)
			}
			report, err := recorder.Verify(t.Context(), direct, vkey, recorder.VerifyOptions{Frames: true})
			if err != nil {
				t.Fatal(err)
			}
			if !report.OK() || report.Sessions != 4 || report.Entries != 8 || len(report.Open)+len(report.Unlogged) > 0 {
				t.Errorf("report: %+v", report)
			}
		})
	}
}

func reverseProxy(to *url.URL) http.Handler {
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host
	}}
}

// TestTwoGatesWithOnePrefix has two gates with one key and one prefix replace
// the same checkpoint: the one that comes second finds it out then and there, and
// the other's stays.
func TestTwoGatesWithOnePrefix(t *testing.T) {
	t.Parallel()
	m := newServer(t)
	m.bucket(t, "fork")
	u, err := url.Parse("http://" + m.address)
	if err != nil {
		t.Fatal(err)
	}
	real := reverseProxy(u)
	var late atomic.Bool
	arrived, goOn := make(chan struct{}), make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/log/checkpoint") && late.CompareAndSwap(true, false) {
			close(arrived)
			<-goOn
		}
		real.ServeHTTP(w, r)
	}))
	defer slow.Close()
	let := sync.OnceFunc(func() { close(goOn) })
	defer let()
	key, _, err := recorder.GenerateKey("gate.example/fork")
	if err != nil {
		t.Fatal(err)
	}
	gate := func(endpoint string) *recorder.Recorder {
		o := m.options("fork")
		o.Endpoint, o.Region = endpoint, "us-east-1"
		r, err := recorder.Open(recorder.Options{Spool: t.TempDir(), Store: open(t, o), Key: key, LogEvery: time.Second}) // piece and manifest in one step
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close(context.Background()) }) // of what cannot be entered
		return r
	}
	a := gate(slow.URL)
	record(t, a, 0, 1)
	flush(t, a)
	late.Store(true)
	record(t, a, 1, 2)
	<-arrived // it found its own checkpoint, stored two entries, and replaces it
	b := gate(u.String())
	s, err := b.Begin(&event.Session{ID: "other", Start: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := errors.Join(s.Append(event.Frame{Kind: event.KindOpen, Time: time.Now()}), s.Commit(t.Context())); err != nil {
		t.Fatal(err)
	}
	flush(t, b) // one entry after the first two
	let()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if err := a.Flush(ctx); !errors.Is(err, recorder.ErrFork) {
		t.Errorf("the gate that comes second: %v", err)
	}
	if since, why := a.Outage(); since.IsZero() || !errors.Is(why, recorder.ErrFork) {
		t.Errorf("it is away since %v: %v", since, why)
	}
	if st := b.Stats(); st.Forked || st.LogSize != 3 {
		t.Errorf("the gate that came first: %+v", st)
	}
	c, err := open(t, m.options("fork")).Get(t.Context(), "log/checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if text, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(text), "gate.example/fork\n3\n") {
		t.Errorf("checkpoint %q, %v", text, err)
	}
}

// TestWithoutConditions replaces in a service that knows no If-Match: it is
// logged once.
func TestWithoutConditions(t *testing.T) {
	t.Parallel()
	m := newServer(t)
	m.bucket(t, "unconditional")
	u, err := url.Parse("http://" + m.address)
	if err != nil {
		t.Fatal(err)
	}
	real := reverseProxy(u)
	old := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-Match") != "" {
			status(http.StatusNotImplemented, "NotImplemented")(w, r, real)
			return
		}
		real.ServeHTTP(w, r)
	}))
	defer old.Close()
	var log bytes.Buffer
	o := m.options("unconditional")
	o.Endpoint, o.Region, o.Logger = old.URL, "us-east-1", slog.New(slog.NewTextHandler(&log, nil))
	s := open(t, o)
	var before []byte
	for i := range 4 {
		data := fmt.Append(nil, i)
		if err := s.Replace(t.Context(), "log/checkpoint", before, data); err != nil {
			t.Fatal(err)
		}
		if err := s.Replace(t.Context(), "log/checkpoint", []byte("other"), data); !errors.Is(err, recorder.ErrChanged) {
			t.Errorf("replace what it does not hold: %v", err)
		}
		before = data
	}
	if remarks, err := s.Remarks(t.Context()); err != nil || len(remarks) != 1 || !strings.Contains(remarks[0], "If-Match") {
		t.Errorf("remarks %q, %v", remarks, err)
	}
	if n := strings.Count(log.String(), "does not replace objects on a condition"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, &log)
	}
}

func flush(t *testing.T, r *recorder.Recorder) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if err := r.Flush(ctx); err != nil {
		t.Fatalf("%v; %+v", err, r.Stats())
	}
}

// TestKeysChange has the service take other keys than before, while sessions go
// on: what they record is stored once the gate has the new ones.
func TestKeysChange(t *testing.T) {
	t.Parallel()
	m := newServer(t)
	m.bucket(t, "keys")
	before, renewed := m.password, "renewed-secret"
	var current atomic.Pointer[string]
	current.Store(&before)
	o := m.options("keys")
	o.Credentials = func() (string, string, string, error) { return user, *current.Load(), "", nil }
	key, vkey, err := recorder.GenerateKey("gate.example/keys")
	if err != nil {
		t.Fatal(err)
	}
	r, err := recorder.Open(recorder.Options{Spool: t.TempDir(), Store: open(t, o), Key: key, LogEvery: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	record(t, r, 0, 2)
	flush(t, r)
	m.stop(t)
	m.password = renewed
	m.start(t)
	record(t, r, 2, 4)
	for {
		if _, why := r.Outage(); minio.ToErrorResponse(errors.Unwrap(why)).StatusCode == http.StatusForbidden {
			break
		}
		time.Sleep(time.Millisecond) // polls the recorder's work
	}
	current.Store(&renewed)
	flush(t, r)
	if since, why := r.Outage(); !since.IsZero() {
		t.Errorf("still away: %v", why)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	report, err := recorder.Verify(t.Context(), open(t, m.options("keys")), vkey, recorder.VerifyOptions{Frames: true})
	if err != nil || !report.OK() || report.Sessions != 4 {
		t.Errorf("report: %+v, %v", report, err)
	}
}
