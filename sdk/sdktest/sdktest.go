// Package sdktest tests plugins written in Go: natively, where a debugger and
// coverage work, and again compiled to WebAssembly in the host that the gate has.
// No gate and no database are needed:
//
//	func TestKeys(t *testing.T) {
//		sdktest.Run(t, new(plugin), `{"prefixes": ["AKIA"]}`, func(t *testing.T, s *sdktest.Session) {
//			got := s.Rows([]sdk.Field{{Name: "note", Type: "text"}}, []string{"AKIAIOSFODNN7EXAMPLE"})
//			if got[0][0] != "[redacted]" {
//				t.Errorf("the client gets %q", got)
//			}
//		})
//	}
package sdktest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/plugins/host"
	"gatehouse/sdk"
	"gatehouse/sdk/module"
)

// Null is a value that is NULL.
const Null = "\x00NULL"

// A Session is a session in which one plugin takes part.
type Session struct {
	t      *testing.T
	of     event.Session
	opened opened
}

// opened is the plugin as the pipeline has it.
type opened interface {
	pipeline.Plugin
	Roles() pipeline.Roles
	Close(context.Context) (*event.Note, error)
}

// Run calls test twice: with the plugin p as it is, and with the program in the
// current folder, compiled and in the host. Both have the configuration, which is
// JSON or empty, and the schema of the folder, and take part in a new session.
func Run(t *testing.T, p any, config string, test func(t *testing.T, s *Session)) {
	t.Helper()
	RunIn(t, p, config, sdk.Session{}, test)
}

// RunIn is Run in a session that is given.
func RunIn(t *testing.T, p any, config string, of sdk.Session, test func(t *testing.T, s *Session)) {
	t.Helper()
	for name, load := range ways(p) {
		t.Run(name, func(t *testing.T) {
			open, err := load(t, config)
			if err != nil {
				t.Fatal(err)
			}
			s := &Session{t: t, of: of.Session}
			if s.opened, err = open(t.Context(), &s.of); err != nil {
				t.Fatal(err)
			}
			test(t, s)
		})
	}
}

// Refuses checks that a configuration is refused, natively and in the host.
func Refuses(t *testing.T, p any, config string) {
	t.Helper()
	for name, load := range ways(p) {
		t.Run(name, func(t *testing.T) {
			if _, err := load(t, config); err == nil {
				t.Errorf("the configuration %s is taken", config)
			}
		})
	}
}

// An opener opens a session of a plugin that is loaded.
type opener func(context.Context, *event.Session) (opened, error)

func ways(p any) map[string]func(*testing.T, string) (opener, error) {
	return map[string]func(*testing.T, string) (opener, error){
		"native": func(t *testing.T, config string) (opener, error) { return loadNative(p, config) },
		"host":   func(t *testing.T, config string) (opener, error) { return loadInHost(t, p, config) },
	}
}

var builds struct {
	sync.Mutex
	wasm map[string][]byte // by folder
}

// build compiles the program in the current folder, once.
func build(ctx context.Context) ([]byte, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	builds.Lock()
	defer builds.Unlock()
	if builds.wasm[dir] == nil {
		wasm, err := module.Build(ctx, dir)
		if err != nil {
			return nil, err
		}
		builds.wasm = map[string][]byte{dir: wasm}
	}
	return builds.wasm[dir], nil
}

func loadInHost(t *testing.T, p any, config string) (opener, error) {
	wasm, err := build(t.Context())
	if err != nil {
		return nil, err
	}
	var o host.Options
	o.Clock, o.Random = sdk.Needs(p)
	if cache, err := os.UserCacheDir(); err == nil {
		o.CacheDir = filepath.Join(cache, "gatehouse", "test-plugins")
	}
	h, err := host.New(t.Context(), o)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := h.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	plugin, err := h.Load(t.Context(), "plugin", wasm, []byte(config))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, s *event.Session) (opened, error) { return plugin.Open(ctx, s) }, nil
}

// Judge returns what the plugin says of a request.
func (s *Session) Judge(r sdk.Request) sdk.Verdict {
	s.t.Helper()
	j := s.opened.Roles().Judge
	if j == nil {
		s.t.Fatal("the plugin is no Judge")
	}
	v, err := j.Judge(s.t.Context(), &s.of, &r)
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

// Treat returns what the plugin says of the fields of a result.
func (s *Session) Treat(fields ...sdk.Field) []sdk.Treatment {
	s.t.Helper()
	m := s.opened.Roles().Masker
	if m == nil {
		s.t.Fatal("the plugin is no Masker")
	}
	ts, err := m.Treat(s.t.Context(), &s.of, &event.Head{Fields: fields})
	if err != nil {
		s.t.Fatal(err)
	}
	return ts
}

// Rows returns what a client gets of rows with these fields, where no other
// plugin treats them. Hashes and fakes are those of a key of zeros.
func (s *Session) Rows(fields []sdk.Field, rows ...[]string) [][]string {
	s.t.Helper()
	p, err := pipeline.New(pipeline.Config{
		Terms: pipeline.Terms{Session: &s.of, Plugins: []pipeline.Plugin{masking{s.opened}}}, Recorder: nowhere{}, Key: make([]byte, 32),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	x := p.Begin(s.t.Context(), &event.Request{})
	if err := x.Head(s.t.Context(), &event.Head{Fields: fields}); err != nil {
		s.t.Fatal(err)
	}
	columns, treated := x.Treated()
	var given event.Rows
	given.Reset(treated)
	for _, row := range rows {
		cells := given.Grow()
		for k, j := range columns {
			cells[k] = cell(row[j])
		}
	}
	if err := x.Rows(s.t.Context(), &given); err != nil {
		s.t.Fatal(err)
	}
	got := make([][]string, len(rows))
	for i, row := range rows {
		got[i] = append([]string(nil), row...)
		for k, j := range columns {
			got[i][j] = Null
			if v := given.Cell(i, k); v != nil {
				got[i][j] = string(v)
			}
		}
	}
	return got
}

func cell(v string) []byte {
	if v == Null {
		return nil
	}
	return []byte(v)
}

// Upload returns what the plugin says of rows that a client sends.
func (s *Session) Upload(fields []sdk.Field, rows ...[]string) sdk.Verdict {
	s.t.Helper()
	u := s.opened.Roles().Uploads
	if u == nil {
		s.t.Fatal("the plugin is no UploadJudge")
	}
	var given event.Rows
	given.Reset(fields)
	for _, row := range rows {
		cells := given.Grow()
		for j, v := range row {
			cells[j] = cell(v)
		}
	}
	v, err := u.JudgeUpload(s.t.Context(), &s.of, &event.Head{Fields: fields}, &given)
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

// End tells the plugin how a response ended and returns its note, or nil.
func (s *Session) End(o sdk.Outcome) *sdk.Note {
	s.t.Helper()
	e := s.opened.Roles().Ender
	if e == nil {
		s.t.Fatal("the plugin is no Ender")
	}
	n, err := e.End(s.t.Context(), &s.of, &o)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// Close tells the plugin that the session has ended and returns its note, or nil.
func (s *Session) Close() *sdk.Note {
	s.t.Helper()
	if s.opened.Roles().Closer == nil {
		s.t.Fatal("the plugin is no Closer")
	}
	n, err := s.opened.Close(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// masking is a plugin that takes part as a masker only.
type masking struct{ opened }

func (m masking) Roles() pipeline.Roles { return pipeline.Roles{Masker: m.opened.Roles().Masker} }

// nowhere records nothing.
type nowhere struct{}

func (nowhere) Append(event.Frame, ...[]byte) error { return nil }
func (nowhere) Commit(context.Context) error        { return nil }

// loadNative configures p.
func loadNative(p any, config string) (opener, error) {
	if config == "" {
		config = "{}"
	}
	schema, err := module.Schema(".")
	if err != nil {
		return nil, err
	}
	if err := host.CheckConfig(schema, []byte(config)); err != nil {
		return nil, err
	}
	n := native{plugin: p}
	if c, is := p.(sdk.Configurer); is {
		if err := c.Configure([]byte(config)); err != nil {
			return nil, err
		}
	} else if config != "{}" {
		return nil, fmt.Errorf("%T takes no configuration", p)
	}
	if err := n.detect(); err != nil {
		return nil, err
	}
	return func(_ context.Context, s *event.Session) (opened, error) { return n.open(s) }, nil
}
