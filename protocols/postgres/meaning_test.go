package postgres_test

import (
	"slices"
	"testing"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/core/protect"
)

// A text that was sent before is judged by what it means now: what views show and what
// is searched may have changed since, by whatever session.
func TestTheSameTextIsJudgedByWhatItMeansNow(t *testing.T) {
	const text = "SELECT x FROM v"
	var reads []string
	see := rule(func(r *event.Request) event.Verdict {
		if string(r.Payload) == text && len(r.Statements) > 0 {
			reads = nil
			for _, st := range r.Statements {
				for _, o := range st.Reads {
					reads = append(reads, o.Name)
				}
			}
		}
		return event.Verdict{Action: event.Allow}
	})
	g := startGate(t, gateConfig{version: 18, plugins: []pipeline.Plugin{see}, sql: `CREATE TABLE a (x text); CREATE TABLE b (x text); CREATE TABLE c (x text);
		CREATE SCHEMA other; CREATE TABLE d (x text); CREATE VIEW other.v AS SELECT x FROM d; CREATE VIEW v AS SELECT x FROM a`})
	c, another := g.connect(t, ""), g.connect(t, "")
	for _, step := range []struct {
		sql  string
		far  bool // another session sends it
		want string
	}{
		{"", false, "a"},
		{"CREATE OR REPLACE VIEW v AS SELECT x FROM b", true, "b"},
		{"BEGIN; CREATE OR REPLACE VIEW v AS SELECT x FROM c", false, "b"}, {"COMMIT", false, "c"}, // only that transaction can see it before
		{"SET search_path = other", false, "d"}, {"SET search_path = public", false, "c"},
		{"BEGIN; SET LOCAL search_path = other", false, "d"}, {"COMMIT", false, "c"},
	} {
		by := c
		if step.far {
			by = another
		}
		if _, err := by.Exec(t.Context(), step.sql); err != nil {
			t.Fatalf("%s: %v", step.sql, err)
		}
		for _, mode := range []string{"simple", "simple", "extended", "extended"} {
			reads = nil
			if mode == "simple" {
				_ = run(c, text)
			} else if _, err := c.PgConn().ExecParams(t.Context(), text, nil, nil, nil, nil).Close(); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(reads, []string{"v", step.want}) {
				t.Errorf("%s, after %q: reads %q, want v and %s", mode, step.sql, reads, step.want)
			}
		}
	}
}

// A text that was sent before passes by what is protected now, and by what its names
// stand for now.
func TestTheSameTextIsProtectedByWhatIsNow(t *testing.T) {
	g := startGate(t, gateConfig{sql: `CREATE TABLE people (id int, ssn text); INSERT INTO people VALUES (1, 'secret');
		CREATE TABLE plain (a text); INSERT INTO plain VALUES ('lasting')`})
	c := g.connect(t, "&default_query_exec_mode=simple_protocol")
	for _, step := range [][3]string{
		{"", "SELECT count(*) > 0 FROM pg_ls_dir('.')", "true"}, {"", "SELECT id FROM people WHERE ssn > 'a' AND ssn > 'b' AND ssn < 't'", "1"}, {"", "SELECT a FROM plain", "lasting"},
		{"protect", "SELECT count(*) > 0 FROM pg_ls_dir('.')", "42501"}, {"", "SELECT id FROM people WHERE ssn > 'a' AND ssn > 'b' AND ssn < 't'", "42501"},
		{"", "SELECT a FROM plain", "lasting"}, {"", "SELECT a FROM plain", "lasting"},
		{"CREATE TEMP TABLE plain (a text)", "SELECT a FROM plain", ""}, {"INSERT INTO plain VALUES ('passing')", "SELECT a FROM plain", "passing"},
		{"DROP TABLE pg_temp.plain", "SELECT a FROM plain", "lasting"},
	} {
		if step[0] == "protect" {
			g.policy.columns = protectedPeople(t, protect.Strict)
			g.policy.all = g.policy.columns
			g.policy.change(nil)
		} else if got := run(c, step[0]); got != "" {
			t.Fatalf("%s: %q", step[0], got)
		}
		if got := run(c, step[1]); got != step[2] {
			t.Errorf("after %q, %s: %q, want %q", step[0], step[1], got, step[2])
		}
	}
}
