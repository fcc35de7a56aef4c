package main

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"gatehouse/core/event"
	"gatehouse/plugins/host"
	"gatehouse/plugins/plugintest"
)

// Whatever fails in a guest, in any hook and any language, is an error of that
// call and of none else. A guest that does not fail is there to compare.
func TestFailingGuests(t *testing.T) {
	h := plugintest.Host(t, host.Options{Instances: 1, Fuel: 20_000_000, Failures: 1000})
	for language, wasm := range guests(t) {
		for _, how := range []string{"", "trap", "outside", "memory", "recursion", "loop"} {
			t.Run(language+"/"+how, func(t *testing.T) {
				config := fmt.Appendf(nil, `{"fail": %q}`, how)
				if how == "" {
					config = []byte(`{"answer": {"treatments": {"treatments": [{"kind": 6}]}}}`)
				}
				p, err := h.Load(t.Context(), "guest", wasm, config)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = p.Close(t.Context()) }()
				for range 2 { // every call has an instance, whatever became of the last
					for hook, call := range calls(p) {
						err := call(t.Context())
						switch {
						case how == "" && err != nil:
							t.Errorf("%s: %v", hook, err)
						case how != "" && !errors.Is(err, host.ErrTrap) && !errors.Is(err, host.ErrTimeout):
							t.Errorf("%s: %v", hook, err)
						}
					}
				}
				if s := p.Stats(); how != "" && (s.Traps+s.Timeouts != s.Calls || s.Instances != 0) {
					t.Errorf("%d traps and %d time-outs in %d calls, %d instances are left", s.Traps, s.Timeouts, s.Calls, s.Instances)
				}
			})
		}
	}
}

// calls are of every hook but configure, with inputs that a guest can tell.
func calls(p *host.Plugin) map[string]func(context.Context) error {
	session := &event.Session{ID: "s1", Gate: "gate"}
	head := &event.Head{Fields: []event.Field{{Name: "a", Type: "text"}}}
	var rows event.Rows
	rows.Reset(head.Fields)
	rows.Grow()[0] = []byte("value")
	roles := p.Roles()
	at, _ := p.Pipeline().(*host.Session)
	return map[string]func(context.Context) error{
		"on_open": func(ctx context.Context) error { _, err := p.Open(ctx, session); return err },
		"on_request": func(ctx context.Context) error {
			_, err := roles.Judge.Judge(ctx, session, &event.Request{Operation: "query"})
			return err
		},
		"on_head": func(ctx context.Context) error { _, err := roles.Masker.Treat(ctx, session, head); return err },
		"on_rows": func(ctx context.Context) error {
			_, err := roles.Masker.Inspect(ctx, session, &rows, []int{0})
			return err
		},
		"on_upload": func(ctx context.Context) error {
			_, err := roles.Uploads.JudgeUpload(ctx, session, head, &rows)
			return err
		},
		"on_end": func(ctx context.Context) error {
			_, err := roles.Ender.End(ctx, session, &event.Outcome{Status: "ok"})
			return err
		},
		"on_close": func(ctx context.Context) error { _, err := at.Close(ctx); return err },
	}
}
