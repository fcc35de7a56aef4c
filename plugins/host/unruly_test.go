package host_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"gatehouse/core/event"
	"gatehouse/plugins/host"
	"gatehouse/plugins/plugintest"
)

// W01, W02, W03, W04.
//
// A guest of the Go SDK may panic, hang, exit or eat its memory: the request is
// refused, and what it was given is in no error and no log.
func TestUnrulyGuest(t *testing.T) {
	const secret = "alice@example.com"
	var log bytes.Buffer
	wasm := plugintest.Build(t, "testdata/unruly")
	options := host.Options{
		Instances: 1, MemoryLimit: 32 << 20,
		Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	load := func() (*host.Host, func(operation string) (event.Verdict, error)) {
		h := plugintest.Host(t, options)
		p, err := h.Load(t.Context(), "unruly", wasm, nil)
		if err != nil {
			t.Fatal(err)
		}
		judge := plugintest.Judge(t, p)
		return h, func(operation string) (event.Verdict, error) {
			return judge.Judge(t.Context(), new(event.Session), &event.Request{Operation: operation, Payload: []byte(secret)})
		}
	}
	h, ask := load()
	for _, c := range []struct {
		operation string
		want      error
	}{
		{"panic", host.ErrTrap}, {"dereference", host.ErrTrap}, {"hoard", host.ErrTrap},
		{"exit", host.ErrTrap}, {"wait", host.ErrTrap},
		{"spin", host.ErrTimeout}, {"sleep", host.ErrTimeout},
	} {
		v, err := ask(c.operation)
		if !errors.Is(err, c.want) || v.Action != event.Block {
			t.Errorf("%s: %v, %v; want %v", c.operation, v, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error quotes the request: %v", c.operation, err)
		}
		if v, err := ask("query"); err != nil || v.Action != event.Allow {
			t.Fatalf("after %s: %v, %v", c.operation, v, err)
		}
	}
	if _, err := ask("print"); err != nil {
		t.Error(err)
	}
	if strings.Contains(log.String(), secret) {
		t.Errorf("the log quotes the request:\n%s", log.String())
	}

	// It sees nothing of where it runs, and every instance sees the same.
	v, err := ask("look around")
	if err != nil || v.Reason != "[] [] true 2022 false" {
		t.Errorf("%v, %v", v, err)
	}
	_, _ = ask("panic")
	first, err := ask("dice")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = ask("panic")
	if second, err := ask("dice"); err != nil || first.Reason != second.Reason {
		t.Errorf("%v after %v, %v", second, first, err)
	}

	for config, want := range map[string]string{
		`{"do": "fail"}`:  "load plugin unruly: this is not how to configure it",
		`{"do": "panic"}`: "cannot go on",
	} {
		if _, err := h.Load(t.Context(), "unruly", wasm, []byte(config)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", config, err)
		}
	}
}
