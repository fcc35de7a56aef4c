package postgres_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/plugins/host"
	"gatehouse/plugins/plugintest"
)

// With guard as it is by default pg_dump needs --enable-row-security, since the
// setting that it sends otherwise is blocked, and somebody who approves its locks.
func TestDumpsPassTheStandardGuard(t *testing.T) {
	guard, err := plugintest.Host(t, host.Options{}).Load(t.Context(), "guard", plugintest.Build(t, "../../plugins/guard"), []byte("null"))
	if err != nil {
		t.Fatal(err)
	}
	g := startGate(t, gateConfig{sql: customers, plugins: []pipeline.Plugin{guard.Pipeline()}})
	go func() {
		for {
			select {
			case p := <-g.desk.pending:
				if sql := string(p.Request.Payload); !strings.HasPrefix(sql, "LOCK TABLE public.") || !strings.HasSuffix(sql, " IN ACCESS SHARE MODE") {
					t.Errorf("held: %s", sql)
				}
				g.desk.decide <- event.Decision{Approved: true}
			case <-t.Context().Done():
				return
			}
		}
	}()
	dump := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), "pg_dump", append(args, "-d", g.url(""))...)
		text, err := cmd.CombinedOutput()
		return string(text), err
	}
	for _, args := range [][]string{{"--enable-row-security"}, {"--enable-row-security", "--inserts"}, {"--enable-row-security", "--schema-only"}} {
		if text, err := dump(args...); err != nil || !strings.Contains(text, "CREATE TABLE public.customers") || !strings.Contains(text, "PostgreSQL database dump complete") {
			t.Errorf("%q: %v\n%s", args, err, text)
		}
	}
	if text, err := dump(); err == nil || !strings.Contains(text, "row_security") || !strings.Contains(text, "guard/settings") {
		t.Errorf("without the option: %v\n%s", err, text)
	}
}

// Clients that put values into a statement's text can put long ones there: guard
// and a recording on disk bear them.
func TestLongValuesInTheText(t *testing.T) {
	guard, err := plugintest.Host(t, host.Options{}).Load(t.Context(), "guard", plugintest.Build(t, "../../plugins/guard"), []byte("null"))
	if err != nil {
		t.Fatal(err)
	}
	g := startGate(t, gateConfig{sql: "CREATE TABLE t (v bytea)", plugins: []pipeline.Plugin{guard.Pipeline()}, record: onDisk(t)})
	r := g.raw(t)
	for _, messages := range protocols {
		r.send(messages("INSERT INTO t VALUES ('\\x" + strings.Repeat("5c", 8_000_000) + "')")...)
		if got := r.until("Z"); !slices.Contains(got, "C INSERT 0 1") {
			t.Errorf("got %q", got)
		}
	}
	if got := g.one(t, "SELECT string_agg(length(v)::text, ' ') FROM t"); got != "8000000 8000000" {
		t.Errorf("%s bytes arrived", got)
	}
	r.send(simply("INSERT INTO t VALUES ('" + strings.Repeat("x", 17<<20) + "')")...)
	if got := r.until("Z"); got[0] != "E 54001" {
		t.Errorf("got %q", got)
	}
}
