package s3_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

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
	real := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(u)
		r.Out.Host = r.In.Host
	}}
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

func flush(t *testing.T, r *recorder.Recorder) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
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
