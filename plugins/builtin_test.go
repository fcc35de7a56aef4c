package plugins_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/plugins"
	"gatehouse/plugins/host"
	"gatehouse/plugins/plugintest"
)

// The plugins that ship load without a configuration and are what they should
// be. They must have been compiled.
func TestBuiltin(t *testing.T) {
	h := plugintest.Host(t, host.Options{})
	for _, name := range plugins.Names {
		wasm, err := plugins.Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := h.Load(t.Context(), name, wasm, nil)
		if err != nil {
			t.Fatal(err)
		}
		roles := p.Roles()
		judge, masker := roles.Judge != nil, roles.Masker != nil
		if judge != (name != "mask") || masker != (name == "mask") {
			t.Errorf("%s: judge %v, masker %v", name, judge, masker)
		}
	}
	if _, err := plugins.Builtin("other"); err == nil || !strings.Contains(err.Error(), "approve, classify, guard, mask") {
		t.Error(err)
	}
}

// W07: what the plugins that ship answer one session does not depend on what
// they saw of others, though these share an instance: it is what a new instance
// answers.
func TestW07AnswersDoNotDependOnOtherSessions(t *testing.T) {
	type session struct {
		of      event.Session
		request event.Request
		values  []string
	}
	var sessions []session
	for i, st := range []event.Statement{
		{Kind: "SELECT", Runs: true, Parent: -1, Reads: []event.Object{{Name: "customers"}}},
		{Kind: "DROP TABLE", Runs: true, Parent: -1, Writes: []event.Object{{Name: "customers"}}},
		{Kind: "UPDATE", Runs: true, Parent: -1, Writes: []event.Object{{Name: "ledger"}}},
		{Kind: "SELECT", Runs: true, Parent: -1, Functions: []string{"pg_read_file"}},
	} {
		sessions = append(sessions, session{
			event.Session{ID: fmt.Sprint(i), Resource: "orders", Principal: event.Principal{Issuer: "test", Subject: fmt.Sprint("agent ", i)}},
			event.Request{Operation: "query", Payload: fmt.Appendf(nil, "%s secret-%d", st.Kind, i), Statements: []event.Statement{st}},
			[]string{fmt.Sprintf("user%d@example.com", i), "4242 4242 4242 4242", fmt.Sprint("nothing ", i)},
		})
	}
	h := plugintest.Host(t, host.Options{Instances: 1})
	for _, name := range plugins.Names {
		wasm, err := plugins.Builtin(name)
		if err != nil {
			t.Fatal(err)
		}
		load := func() func(session) string {
			p, err := h.Load(t.Context(), name, wasm, nil)
			if err != nil {
				t.Fatal(err)
			}
			return func(s session) string { return answers(t, p.Roles(), &s.of, s.request, s.values) }
		}
		var fresh []string
		for _, s := range sessions {
			fresh = append(fresh, load()(s))
		}
		shared := load()
		for step := range 20 {
			i := step * 7 / 3 % len(sessions)
			if got := shared(sessions[i]); got != fresh[i] {
				t.Errorf("%s: after others it answers %s, else %s", name, got, fresh[i])
			}
		}
	}
}

// answers is all that a plugin says of a request and of a row of values.
func answers(t *testing.T, p pipeline.Roles, s *event.Session, r event.Request, values []string) (all string) {
	t.Helper()
	ctx := context.Background()
	if j := p.Judge; j != nil {
		v, err := j.Judge(ctx, s, &r)
		all = fmt.Sprint(v, r.Labels, err)
	}
	if m := p.Masker; m != nil {
		var h event.Head
		for i := range values {
			h.Fields = append(h.Fields, event.Field{Name: fmt.Sprint("c", i), Type: "text"})
		}
		ts, err := m.Treat(ctx, s, &h)
		all += fmt.Sprint(ts, err)
		var rows event.Rows
		rows.Reset(h.Fields)
		var fields []int
		for i, cell := 0, rows.Grow(); i < len(values); i++ {
			cell[i], fields = []byte(values[i]), append(fields, i)
		}
		var detections [][]event.Detection
		for _, treatment := range ts {
			detections = append(detections, treatment.Detect)
		}
		edits := m.(pipeline.Detector).Detect(nil, &rows, fields, detections)
		all += fmt.Sprint(edits, err)
	}
	return all
}
