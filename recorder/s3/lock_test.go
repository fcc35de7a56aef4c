package s3_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"gatehouse/core/event"
	"gatehouse/recorder"
	"gatehouse/recorder/s3"
)

const day = 24 * time.Hour

var classes = map[string]recorder.Retention{
	"standard": {},
	"short":    {Mode: recorder.Governance, For: 2 * day},
	"long":     {Mode: recorder.Compliance, For: 9 * day},
}

// sessions have two entries each: together they fill a tile of the log.
const sessions = 129

// A locked is a bucket with recordings of every class.
type locked struct {
	client *minio.Client
	bucket string
	store  *s3.Store
	vkey   string
}

// newLocked records sessions of all classes by turns, enough for a full tile
// of the log.
func newLocked(t *testing.T) *locked {
	t.Helper()
	m := newServer(t)
	m.makeBucket(t, "locked", minio.MakeBucketOptions{ObjectLocking: true})
	l := &locked{client: m.client(t), bucket: "locked", store: open(t, m.options("locked"))}
	key, vkey, err := recorder.GenerateKey("gate.example/locked")
	if err != nil {
		t.Fatal(err)
	}
	l.vkey = vkey
	r, err := recorder.Open(recorder.Options{
		Spool: t.TempDir(), Store: l.store, Key: key, Retention: classes, LogEvery: 500 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range sessions {
		info := &event.Session{ID: fmt.Sprintf("s%04d", i), Start: time.Now()}
		if class := []string{"", "short", "long"}[i%3]; class != "" {
			info.Attrs = []event.Attr{{Key: recorder.RetentionAttr, Value: class}}
		}
		s, err := r.Begin(info)
		if err != nil {
			t.Fatal(err)
		}
		n := event.Notice{Code: "closed"}
		for _, f := range []event.Frame{
			{Kind: event.KindOpen, Time: time.Now(), Payload: info.Append(nil)},
			{Kind: event.KindClose, Time: time.Now(), Payload: n.Append(nil)},
		} {
			if err := s.Append(f); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *locked) verify(t *testing.T, o recorder.VerifyOptions) *recorder.Report {
	t.Helper()
	r, err := recorder.Verify(t.Context(), l.store, l.vkey, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// objects are the current objects under a prefix.
func (l *locked) objects(t *testing.T, prefix string) (names []string) {
	t.Helper()
	for o := range l.client.ListObjectsIter(t.Context(), l.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		names = append(names, o.Key)
	}
	return names
}

func (l *locked) object(t *testing.T, session int, file string) string {
	t.Helper()
	for _, name := range l.objects(t, "sessions/") {
		if strings.HasSuffix(name, fmt.Sprintf("/s%04d/%s", session, file)) {
			return name
		}
	}
	t.Fatalf("session %d has no %s", session, file)
	return ""
}

func (l *locked) put(t *testing.T, name string, data []byte) {
	t.Helper()
	if _, err := l.client.PutObject(t.Context(), l.bucket, name, bytes.NewReader(data), int64(len(data)), minio.PutObjectOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (l *locked) get(t *testing.T, name string) []byte {
	t.Helper()
	r, err := l.store.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hide puts a delete marker before an object.
func (l *locked) hide(t *testing.T, name string) {
	t.Helper()
	if err := l.client.RemoveObject(t.Context(), l.bucket, name, minio.RemoveObjectOptions{}); err != nil {
		t.Fatal(err)
	}
}

// found are the problems as "object: fault".
func found(r *recorder.Report) (all []string) {
	for _, p := range r.Problems {
		all = append(all, fmt.Sprintf("%s: %s", p.Object, p.Fault))
	}
	slices.Sort(all)
	return all
}

func TestLockedRecordings(t *testing.T) {
	l := newLocked(t)
	t.Run("locks", l.testLocks)
	t.Run("versions", l.testVersions)
	t.Run("version without a lock", l.testVersionWithoutLock)
	t.Run("checkpoint rolled back", l.testRolledBack)
	t.Run("lock is less", l.testLockLess)
}

// Every object has the lock of its class from the beginning, and the log that of
// the longest.
func (l *locked) testLocks(t *testing.T) {
	if r := l.verify(t, recorder.VerifyOptions{Retention: classes, Frames: true}); !r.OK() || r.Sessions != sessions {
		t.Errorf("%+v", r)
	}
	full := 0
	for _, name := range l.objects(t, "") {
		mode, until, err := l.client.GetObjectRetention(t.Context(), l.bucket, name, "")
		if minio.ToErrorResponse(err).Code == "NoSuchObjectLockConfiguration" {
			mode, err = nil, nil
		}
		if err != nil {
			t.Fatal(name, err)
		}
		var session int
		want, days := "", time.Duration(0)
		switch i := strings.Index(name, "/s0"); {
		case name == "log/checkpoint":
		case strings.Contains(name, ".p/"):
			want, days = "COMPLIANCE", 7
		case strings.HasPrefix(name, "log/"):
			want, days = "COMPLIANCE", 9
			full++
		default:
			if _, err := fmt.Sscanf(name[i:], "/s%04d/", &session); err != nil {
				t.Fatal(name, err)
			}
			want, days = []string{"", "GOVERNANCE", "COMPLIANCE"}[session%3], []time.Duration{0, 2, 9}[session%3]
		}
		switch {
		case want == "" && mode != nil, want != "" && (mode == nil || string(*mode) != want):
			t.Errorf("%s: mode %v, want %q", name, mode, want)
		case want != "" && (until.After(time.Now().Add(days*day+time.Minute)) || until.Before(time.Now().Add(days*day-5*time.Minute))):
			t.Errorf("%s: until %v", name, until)
		}
	}
	if full != 2 {
		t.Errorf("%d full tiles and bundles", full)
	}
	name := l.object(t, 2, "000000.piece")
	info, err := l.client.StatObject(t.Context(), l.bucket, name, minio.StatObjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.client.RemoveObject(t.Context(), l.bucket, name, minio.RemoveObjectOptions{VersionID: info.VersionID, GovernanceBypass: true}); err == nil {
		t.Error("a piece could be removed")
	}
}

// What object lock lets anybody do is found, and what was logged is found
// behind it.
func (l *locked) testVersions(t *testing.T) {
	piece, manifest, whole := l.object(t, 2, "000000.piece"), l.object(t, 5, "manifest.json"), l.object(t, 8, "000000.piece")
	folder := strings.TrimSuffix(whole, "000000.piece")
	tests := map[string]struct {
		do   func()
		want []string
	}{
		"delete marker": {func() { l.hide(t, piece) }, []string{piece + ": hidden"}},
		"newer version": {func() { l.put(t, manifest, []byte("{}")) }, []string{manifest + ": hidden"}},
		"a session": {
			func() { l.hide(t, whole); l.hide(t, folder+"manifest.json") },
			[]string{whole + ": hidden", folder + "manifest.json: hidden"},
		},
		"tile and bundle": {
			func() { l.hide(t, "log/tile/0/000"); l.put(t, "log/tile/entries/000", []byte("x")) },
			[]string{"log/tile/0/000: hidden", "log/tile/entries/000: hidden"},
		},
		"checkpoint": {func() { l.hide(t, "log/checkpoint") }, []string{"log/checkpoint: hidden"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			markers := l.markers(t)
			tt.do()
			r := l.verify(t, recorder.VerifyOptions{Retention: classes, Frames: true})
			if got := found(r); !slices.Equal(got, tt.want) {
				t.Errorf("found %q, want %q", got, tt.want)
			}
			for _, p := range r.Problems {
				if !strings.Contains(p.Detail, "is still there, as version ") || strings.HasPrefix(p.Object, "sessions/") != (p.Session != "") {
					t.Errorf("%+v", p)
				}
			}
			l.undo(t, markers)
		})
	}
	if r := l.verify(t, recorder.VerifyOptions{Retention: classes}); !r.OK() {
		t.Errorf("put right: %q", found(r))
	}
}

// A copy of the same bytes without a lock does not stand for what was locked.
func (l *locked) testVersionWithoutLock(t *testing.T) {
	piece := l.object(t, 2, "000000.piece")
	defer l.undo(t, l.markers(t))
	l.put(t, piece, l.get(t, piece))
	r := l.verify(t, recorder.VerifyOptions{Retention: classes, Session: "s0002"})
	if got := found(r); !slices.Equal(got, []string{piece + ": hidden"}) {
		t.Errorf("found %q", got)
	}
	if r := l.verify(t, recorder.VerifyOptions{Session: "s0002"}); !r.OK() {
		t.Errorf("without asking for locks: %q", found(r))
	}
}

// A checkpoint that was put back is older than those before it.
func (l *locked) testRolledBack(t *testing.T) {
	var older []byte
	for v, err := range l.store.Versions(t.Context(), "log/checkpoint") {
		if err != nil {
			t.Fatal(err)
		}
		r, err := l.store.GetVersion(t.Context(), "log/checkpoint", v.ID)
		if err != nil {
			t.Fatal(err)
		}
		older, err = io.ReadAll(r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	defer l.undo(t, l.markers(t))
	l.put(t, "log/checkpoint", older) // the first, of an empty log
	r := l.verify(t, recorder.VerifyOptions{Session: "s0002"})
	if got := found(r); !slices.Contains(got, "log/checkpoint: rolled back") {
		t.Errorf("found %q", got)
	}
}

// Locks that are less than the classes ask for are named, each with its object.
func (l *locked) testLockLess(t *testing.T) {
	for name, asked := range map[string]struct {
		class recorder.Retention
		want  string
	}{
		"no lock":    {recorder.Retention{Mode: recorder.Governance, For: day}, "it is not locked"},
		"governance": {recorder.Retention{Mode: recorder.Compliance, For: 2 * day}, "its lock is of mode governance, not compliance"},
		"shorter":    {recorder.Retention{Mode: recorder.Governance, For: 3 * day}, "its lock ends "},
	} {
		t.Run(name, func(t *testing.T) {
			class, session := "short", "s0001"
			if name == "no lock" {
				class, session = "standard", "s0003"
			}
			now := map[string]recorder.Retention{"standard": {}, "short": classes["short"], "long": classes["long"]}
			now[class] = asked.class
			r := l.verify(t, recorder.VerifyOptions{Retention: now, Session: session})
			if len(r.Problems) != 2 { // the piece and the manifest
				t.Errorf("%+v", r.Problems)
			}
			for _, p := range r.Problems {
				if p.Fault != recorder.Unlocked || p.Session != session || !strings.HasPrefix(p.Detail, asked.want) {
					t.Errorf("%+v", p)
				}
			}
		})
	}
	longer := map[string]recorder.Retention{"long": {Mode: recorder.Compliance, For: 10 * day}, "short": classes["short"], "standard": {}}
	r := l.verify(t, recorder.VerifyOptions{Retention: longer, Session: "s0002"})
	for _, want := range []string{"log/tile/0/000: unlocked", "log/tile/entries/000: unlocked"} {
		if !slices.Contains(found(r), want) {
			t.Errorf("%q is not among %d problems", want, len(r.Problems))
		}
	}
}

// markers are the newest versions of all objects.
func (l *locked) markers(t *testing.T) map[string]string {
	t.Helper()
	newest := make(map[string]string)
	for o := range l.client.ListObjectsIter(t.Context(), l.bucket, minio.ListObjectsOptions{WithVersions: true, Recursive: true}) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		if o.IsLatest {
			newest[o.Key] = o.VersionID
		}
	}
	return newest
}

// undo removes what is newer.
func (l *locked) undo(t *testing.T, newest map[string]string) {
	t.Helper()
	for name, version := range l.markers(t) {
		if newest[name] == version {
			continue
		}
		if err := l.client.RemoveObject(t.Context(), l.bucket, name, minio.RemoveObjectOptions{VersionID: version}); err != nil {
			t.Fatal(err)
		}
	}
}

// CheckLock leaves one small object and finds a bucket that locks nothing.
func TestCheckLock(t *testing.T) {
	m := newServer(t)
	m.bucket(t, "plain")
	m.makeBucket(t, "locking", minio.MakeBucketOptions{ObjectLocking: true})
	plain, locking := open(t, m.options("plain")), open(t, m.options("locking"))
	for _, mode := range []recorder.LockMode{recorder.Governance, recorder.Compliance} {
		if err := plain.CheckLock(t.Context(), string(mode), mode); err == nil || !strings.Contains(err.Error(), "object lock is off") {
			t.Errorf("%s: %v", mode, err)
		}
		if err := locking.CheckLock(t.Context(), string(mode), mode); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
	}
	var left []string
	for o := range m.client(t).ListObjectsIter(t.Context(), "locking", minio.ListObjectsOptions{WithVersions: true, Recursive: true}) {
		left = append(left, o.Key)
	}
	if !slices.Equal(left, []string{"check/compliance", "check/governance"}) {
		t.Errorf("left %q", left)
	}

	// A key that removes what is locked in governance mode.
	u, err := url.Parse("http://" + m.address)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(u)
		r.Out.Host = r.In.Host
		if r.Out.Method == http.MethodDelete {
			r.Out.Header.Set("X-Amz-Bypass-Governance-Retention", "true")
		}
	}})
	defer proxy.Close()
	o := m.options("locking")
	o.Endpoint = proxy.URL
	err = open(t, o).CheckLock(t.Context(), "bypassed", recorder.Governance)
	if err == nil || !strings.Contains(err.Error(), "could be removed") {
		t.Errorf("with a key that may bypass: %v", err)
	}
}
