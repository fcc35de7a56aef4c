package sdk_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"gatehouse/core/event"
	"gatehouse/plugins/cases"
	"gatehouse/plugins/host"
	"gatehouse/plugins/plugintest"
)

// byHand is testdata/byhand/plugin.s, assembled.
func byHand(t *testing.T) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "byhand.wasm")
	clang := exec.CommandContext(t.Context(), "clang", "--target=wasm32", "-mbulk-memory", "-nostdlib", "-Wl,--no-entry", "-o", out, "testdata/byhand/plugin.s")
	if said, err := clang.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// A plugin that was written by hand, from ABI.md and nothing else, does what it says:
// the page tells all that it takes.
func TestPluginByHand(t *testing.T) {
	file, err := cases.Parse([]byte(`
cases:
  - {name: reads, request: {payload: SELECT 1}, verdict: allow}
  - {name: writes, request: {payload: "UPDATE a SET b = 1", params: ["1"]}, verdict: block}
  - {name: nothing, request: {payload: ""}, verdict: block}
  - name: all values are redacted
    fields: [{name: a, origins: [public.t.a]}, {name: b}, {name: c}]
    rows: [[x, null, ""], [null, null, null], [zwölf, "", null]]
    treatments: [inspect, inspect, inspect]
    cells: [["[redacted]", null, "[redacted]"], [null, null, null], ["[redacted]", "[redacted]", null]]
  - {name: none are, fields: [{name: a}], rows: [[null], [null]], cells: [[null], [null]]}
`))
	if err != nil {
		t.Fatal(err)
	}
	h, wasm := plugintest.Host(t, host.Options{}), byHand(t)
	results, err := file.Run(t.Context(), h, wasm)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			t.Errorf("%s: %v", r.Name, r.Err)
		}
	}

	// It reads what is golden, long batches too.
	p, err := h.Load(t.Context(), "byhand", wasm, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Open(t.Context(), &goldenSession)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := s.Judge(t.Context(), &goldenSession, &goldenRequest); err != nil || v.Action != event.Block {
		t.Errorf("%v, %v", v, err)
	}
	if ts, err := s.Treat(t.Context(), &goldenSession, &goldenHead); err != nil || len(ts) != len(goldenHead.Fields) || ts[2].Kind != event.Inspect {
		t.Errorf("%v, %v", ts, err)
	}
	if ts, err := s.Treat(t.Context(), &goldenSession, new(event.Head)); err != nil || len(ts) != 0 {
		t.Errorf("no fields: %v, %v", ts, err)
	}
	for _, times := range []int{1, 1000} {
		var rows event.Rows
		golden := goldenRows()
		rows.Reset(golden.Fields)
		values := 0
		for range times {
			for i := range golden.Len() {
				cells := rows.Grow()
				for j := range cells {
					if cells[j] = golden.Cell(i, j); cells[j] != nil {
						values++
					}
				}
			}
		}
		edits, err := s.Inspect(t.Context(), &goldenSession, &rows, []int{0, 1})
		if err != nil || len(edits) != values {
			t.Errorf("%d edits of %d values, %v", len(edits), values, err)
		}
	}
}
