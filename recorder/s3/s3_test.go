package s3_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"gatehouse/core/event"
	"gatehouse/recorder"
	"gatehouse/recorder/s3"
	"gatehouse/recorder/storetest"
)

func TestMain(m *testing.M) {
	os.Unsetenv("AWS_CA_BUNDLE") // it would replace the system's certificates
	os.Exit(m.Run())
}

// minioProgram finds the server: GATEHOUSE_MINIO, the PATH, or what the tests'
// set-up installed under the repository's root.
func minioProgram(t *testing.T) string {
	t.Helper()
	if p := os.Getenv("GATEHOUSE_MINIO"); p != "" {
		return p
	}
	if p, err := exec.LookPath("minio"); err == nil {
		return p
	}
	p, err := filepath.Abs("../../.cache/bin/minio")
	if err == nil {
		_, err = os.Stat(p)
	}
	if err != nil {
		t.Fatalf("no MinIO: set GATEHOUSE_MINIO or run the set-up: %v", err)
	}
	return p
}

// A server is a MinIO that can be stopped and started again.
type server struct {
	program, dir, address, password string
	process                         *exec.Cmd
}

const user, password = "gatehouse", "gatehouse-secret"

func newServer(t *testing.T) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{program: minioProgram(t), dir: t.TempDir(), address: l.Addr().String(), password: password}
	l.Close()
	t.Cleanup(func() { s.stop(t) })
	s.start(t)
	return s
}

func (s *server) start(t *testing.T) {
	t.Helper()
	s.process = exec.Command(s.program, "server", "--quiet", "--address", s.address, s.dir)
	s.process.Env = append(os.Environ(), "MINIO_ROOT_USER="+user, "MINIO_ROOT_PASSWORD="+s.password, "MINIO_BROWSER=off", "MINIO_UPDATE=off")
	s.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.process.Stdout, s.process.Stderr = t.Output(), t.Output()
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	for {
		req, _ := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+"/minio/health/ready", nil)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if ctx.Err() != nil {
			t.Fatal("MinIO does not get ready")
		}
		time.Sleep(20 * time.Millisecond) // polls another process
	}
}

func (s *server) stop(t *testing.T) {
	t.Helper()
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill()
	_ = s.process.Wait() // it was killed
	s.process = nil
}

func (s *server) options(bucket string) s3.Options {
	return s3.Options{Endpoint: "http://" + s.address, Bucket: bucket, AccessKey: user, SecretKey: s.password}
}

func (s *server) bucket(t *testing.T, name string) {
	t.Helper()
	s.makeBucket(t, name, minio.MakeBucketOptions{})
}

func (s *server) makeBucket(t *testing.T, name string, o minio.MakeBucketOptions) {
	t.Helper()
	if err := s.client(t).MakeBucket(t.Context(), name, o); err != nil {
		t.Fatal(err)
	}
}

// client has all rights.
func (s *server) client(t *testing.T) *minio.Client {
	t.Helper()
	c, err := minio.New(s.address, &minio.Options{Creds: credentials.NewStaticV4(user, s.password, "")})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func open(t *testing.T, o s3.Options) *s3.Store {
	t.Helper()
	s, err := s3.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	m := newServer(t)
	m.bucket(t, "whole")
	m.bucket(t, "shared")
	t.Run("bucket", func(t *testing.T) { storetest.Run(t, open(t, m.options("whole"))) })
	t.Run("prefix", func(t *testing.T) {
		o := m.options("shared")
		o.Prefix = "gates/one"
		storetest.Run(t, open(t, o))
		o.Prefix = "gates/two"
		storetest.Run(t, open(t, o))
	})
}

func TestCheck(t *testing.T) {
	m := newServer(t)
	m.bucket(t, "recordings")
	s := open(t, m.options("recordings"))
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	for name, err := range s.List(t.Context(), "") {
		t.Errorf("check left %q, %v", name, err)
	}
	wrong := m.options("recordings")
	wrong.SecretKey = "wrong"
	unreachable := m.options("recordings")
	unreachable.Endpoint = "http://127.0.0.1:1"
	for name, o := range map[string]s3.Options{"absent": m.options("absent"), "wrong key": wrong, "unreachable": unreachable} {
		if err := open(t, o).Check(t.Context()); err == nil {
			t.Errorf("%s: check succeeded", name)
		} else if strings.Contains(err.Error(), password) {
			t.Errorf("%s: the error discloses the secret", name)
		}
	}
}

// TestRemarks tells of a default retention, which locks what is to be replaced.
func TestRemarks(t *testing.T) {
	m := newServer(t)
	m.bucket(t, "plain")
	m.makeBucket(t, "locked", minio.MakeBucketOptions{ObjectLocking: true})
	for _, bucket := range []string{"plain", "locked"} {
		s := open(t, m.options(bucket))
		if remarks, err := s.Remarks(t.Context()); err != nil || len(remarks) > 0 {
			t.Errorf("bucket %s: %q, %v", bucket, remarks, err)
		}
		for name, err := range s.List(t.Context(), "") {
			t.Errorf("bucket %s: it left %q, %v", bucket, name, err)
		}
	}
	mode, validity, unit := minio.Governance, uint(30), minio.Days
	if err := m.client(t).SetObjectLockConfig(t.Context(), "locked", &mode, &validity, &unit); err != nil {
		t.Fatal(err)
	}
	remarks, err := open(t, m.options("locked")).Remarks(t.Context())
	if err != nil || len(remarks) != 1 || !strings.Contains(remarks[0], "for 30 days in mode governance") {
		t.Errorf("remarks %q, %v", remarks, err)
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []s3.Options{
		{Endpoint: "", Bucket: "b"},
		{Endpoint: "localhost:9000", Bucket: "b"},
		{Endpoint: "ftp://localhost", Bucket: "b"},
		{Endpoint: "https://localhost/path", Bucket: "b"},
		{Endpoint: "https://localhost"},
		{Endpoint: "https://localhost", Bucket: "b", Prefix: "a/../b"},
	} {
		if _, err := s3.Open(o); err == nil {
			t.Errorf("opened %+v", o)
		}
	}
}

// TestOutage records while the server is away, and finds all of it afterwards.
func TestOutage(t *testing.T) {
	m := newServer(t)
	m.bucket(t, "recordings")
	key, vkey, err := recorder.GenerateKey("gate.example/outage")
	if err != nil {
		t.Fatal(err)
	}
	store := open(t, m.options("recordings"))
	r, err := recorder.Open(recorder.Options{
		Spool: t.TempDir(), Store: store, Key: key, PieceSize: 10_000, LogEvery: 10 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	record(t, r, 0, 20)
	if err := r.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.stop(t)
	record(t, r, 20, 40)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := r.Flush(ctx); err == nil {
		t.Error("flushed to a server that is away")
	}
	if st := r.Stats(); st.Backlog == 0 || st.Sessions != 20 {
		t.Errorf("while the server is away: %+v", st)
	}
	m.start(t)
	record(t, r, 40, 45)
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	if err := r.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if st := r.Stats(); st.Backlog != 0 || st.Sessions != 0 || st.Failures == 0 {
		t.Errorf("afterwards: %+v", st)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	report, err := recorder.Verify(t.Context(), store, vkey, recorder.VerifyOptions{Frames: true})
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() || report.Sessions != 45 || len(report.Open)+len(report.Unlogged) > 0 {
		t.Errorf("report: %+v", report)
	}
	list, err := recorder.NewReader(store).List(t.Context(), recorder.Query{Limit: 1000})
	if err != nil || len(list) != 45 {
		t.Errorf("listed %d sessions: %v", len(list), err)
	}
}

func record(t *testing.T, r *recorder.Recorder, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		recordSession(t, r, fmt.Sprintf("s%04d", i), slices.Repeat([][]byte{make([]byte, 1000)}, 30)...)
	}
}

// recordSession records a session with data, each element of which is committed.
func recordSession(t *testing.T, r *recorder.Recorder, id string, data ...[]byte) {
	t.Helper()
	info := &event.Session{ID: id, Start: time.Now()}
	s, err := r.Begin(info)
	if err != nil {
		t.Fatal(err)
	}
	add := func(k event.Kind, payload []byte) {
		if err := s.Append(event.Frame{Kind: k, Time: time.Now(), Payload: payload}); err != nil {
			t.Fatal(err)
		}
		if err := s.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	add(event.KindOpen, info.Append(nil))
	for _, b := range data {
		add(event.KindData, b)
	}
	n := event.Notice{Code: "closed"}
	add(event.KindClose, n.Append(nil))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
