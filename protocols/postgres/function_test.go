package postgres_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/protocols/postgres"
)

// libpq's functions for large objects: lo_open, lo_close, loread, lowrite,
// lo_creat.
var largeObjects = []uint32{952, 953, 954, 955, 957}

func TestLargeObjectsOfLibpq(t *testing.T) {
	dir := t.TempDir()
	in, out, script := filepath.Join(dir, "in"), filepath.Join(dir, "out"), filepath.Join(dir, "script")
	data := bytes.Repeat([]byte("\x00large\xff"), 30_000)
	for name, b := range map[string][]byte{in: data, script: []byte(`\lo_import ` + in + "\n" + `\lo_export :LASTOID ` + out + "\n")} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g := startGate(t, gateConfig{plugins: []pipeline.Plugin{columns{}}, calls: largeObjects})
	g.run(t, "psql", "-X", "-v", "ON_ERROR_STOP=1", "-f", script)
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes came back of %d: %v", len(got), len(data), err)
	}
	var written []byte
	for _, f := range g.tapes[0].all() {
		var r event.Request
		if f.Kind == event.KindRequest && r.Decode(f.Payload) == nil && string(r.Payload) == "SELECT pg_catalog.lowrite($1, $2)" {
			if r.Operation != "function call" || !slices.Equal(r.Statements[0].Functions, []string{"lowrite"}) {
				t.Fatalf("recorded as %s of %q", r.Operation, r.Statements[0].Functions)
			}
			written = append(written, r.Params[1]...)
		}
	}
	if !bytes.Equal(written, data) {
		t.Errorf("%d bytes are recorded of %d", len(written), len(data))
	}

	g = startGate(t, gateConfig{plugins: []pipeline.Plugin{columns{}}, calls: []uint32{952}})
	host, port, _ := strings.Cut(g.addr, ":")
	cmd := exec.CommandContext(t.Context(), "psql", "-X", "-v", "ON_ERROR_STOP=1", "-f", script)
	cmd.Env = append(cmd.Environ(), "PGHOST="+host, "PGPORT="+port, "PGUSER=agent", "PGPASSWORD=good", "PGDATABASE=orders", "PGSSLMODE=disable")
	if said, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(said), "function calls by the fast path are refused") {
		t.Errorf("a function that is not named: %v, %s", err, said)
	}
	if n := g.one(t, "SELECT count(*)::text FROM pg_largeobject_metadata"); n != "0" {
		t.Errorf("%s large objects were made", n)
	}
}

// all treats every field alike.
type all event.Treatment

func (all) Name() string { return "all" }

func (a all) Treat(_ context.Context, _ *event.Session, h *event.Head) ([]event.Treatment, error) {
	return slices.Repeat([]event.Treatment{event.Treatment(a)}, len(h.Fields)), nil
}

func (all) Inspect(context.Context, *event.Session, *event.Rows, []int) ([]event.Edit, error) {
	return nil, nil
}

// A function call is judged as the SELECT that does the same, and so is what it
// returns, in step with what surrounds it.
func TestFunctionCallsAreJudgedAndMasked(t *testing.T) {
	const reverse, unlink = 3062, 964
	guard := rule(func(r *event.Request) event.Verdict {
		for _, s := range r.Statements {
			if slices.Contains(s.Functions, "lo_unlink") {
				return event.Verdict{Rule: "test/unlink", Reason: "no"}
			}
		}
		return event.Verdict{Action: event.Allow}
	})
	call := func(oid uint32, args ...[]byte) *pgproto3.FunctionCall {
		return &pgproto3.FunctionCall{Function: oid, Arguments: args}
	}
	for _, c := range []struct {
		mask pipeline.Plugin
		want string
	}{{nil, "cba"}, {all{Kind: event.Pass}, "cba"}, {all{Kind: event.Redact}, "[redacted]"}, {all{Kind: event.KeepLast, Keep: 1}, "**a"}, {all{}, "NULL"}} {
		for _, buffer := range []int{0, 1} {
			plugins := []pipeline.Plugin{guard}
			if c.mask != nil {
				plugins = append(plugins, c.mask)
			}
			g := startGate(t, gateConfig{plugins: plugins, calls: []uint32{reverse, unlink}, limits: postgres.Limits{Buffer: buffer}})
			r := g.raw(t)
			r.send(call(reverse, []byte("abc")))
			kind, body := r.message()
			got := "NULL"
			if len(body) >= 4 && !bytes.HasPrefix(body, []byte{0xff, 0xff, 0xff, 0xff}) {
				got = string(body[4:])
			}
			if kind != 'V' || got != c.want {
				t.Errorf("%v, buffer %d: %q %q, want %q", c.mask, buffer, kind, got, c.want)
			}
			r.expect("Z I")
			r.send(&pgproto3.Query{String: "BEGIN"}, call(unlink, []byte("1")), call(reverse, []byte("abc")), call(7), &pgproto3.Query{String: "ROLLBACK"})
			var all []string
			for range 5 {
				all = append(all, r.until("Z")...)
			}
			if want := []string{"C BEGIN", "Z T", "E 42501", "Z E", "E 25P02", "Z E", "E 0A000", "Z E", "C ROLLBACK", "Z I"}; !cmp.Equal(all, want) {
				t.Errorf("refused with %q", all)
			}
			lines := decoded(t, g.tapes[0].all())
			if i := slices.Index(lines, "reverse text"); i < 0 || lines[i+1] != c.want {
				t.Errorf("%v: the recording shows %q", c.mask, lines)
			}
		}
	}
}
