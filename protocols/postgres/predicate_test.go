package postgres_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/core/protect"
	"gatehouse/core/quota"
)

// protecting returns what protects a column.
func protecting(t *testing.T, column string, how event.Treatment) *protect.Columns {
	t.Helper()
	p, err := protect.New(protect.Config{Mode: protect.Column, Columns: map[string]event.Treatment{column: how}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// spending returns quotas of columns, for each principal its own.
func spending(limit quota.Limit, over event.Action) func(event.Principal) pipeline.ColumnQuotas {
	l := quota.NewLedger()
	return func(who event.Principal) pipeline.ColumnQuotas {
		return pipeline.ColumnQuotas{Over: over, Of: func(column string) (pipeline.ColumnQuota, error) {
			return l.Open(who, "p", column, limit)
		}}
	}
}

// as returns a session of the principal with a token.
func (g *gate) as(t *testing.T, token string) *raw {
	t.Helper()
	r := dialRaw(t, g.addr, map[string]string{"user": "agent", "database": "orders"}, token)
	r.until("Z")
	return r
}

const peopleSQL = `CREATE TABLE people (id int, email text); INSERT INTO people VALUES (1, 'ada@example.com'), (2, 'bob@example.com');
	CREATE VIEW mails AS SELECT id, email AS mail FROM people; CREATE TABLE other (id int, email text)`

// Predicates on a protected column count over all sessions of a principal, however
// they are sent and by whatever name, and over the quota they are refused. What is
// not protected and who is not concerned goes on.
func TestQuotaOfPredicates(t *testing.T) {
	for _, cleared := range []bool{false, true} {
		g := startGate(t, gateConfig{sql: peopleSQL})
		g.policy.all = protecting(t, "public.people.email", event.Treatment{Kind: event.KeepLast, Keep: 4})
		g.policy.columns = g.policy.all
		if cleared {
			g.policy.columns = nil
		}
		g.policy.spend = spending(quota.Limit{Predicates: 4}, event.Block)
		a, b, other := g.as(t, "good"), g.as(t, "good"), g.as(t, "other")
		ok := func(r *raw, ms ...pgproto3.FrontendMessage) {
			t.Helper()
			r.send(ms...)
			if got := r.until("Z"); slices.ContainsFunc(got, func(m string) bool { return strings.HasPrefix(m, "E") }) {
				t.Errorf("cleared %t: %q", cleared, got)
			}
		}
		refused := func(r *raw, ms ...pgproto3.FrontendMessage) {
			t.Helper()
			r.send(ms...)
			if got := r.until("Z"); !slices.Contains(got, "E 53400") {
				t.Errorf("cleared %t: %q", cleared, got)
			}
		}
		ok(a, sql("SELECT id FROM people WHERE email LIKE 'a%'"))
		ok(b, sql("SELECT id FROM people ORDER BY email"))
		ok(a, &pgproto3.Parse{Name: "s", Query: "SELECT id FROM people p WHERE p.email > $1"}, &pgproto3.Sync{})
		execute := []pgproto3.FrontendMessage{&pgproto3.Bind{PreparedStatement: "s", Parameters: [][]byte{[]byte("b")}}, &pgproto3.Execute{}, &pgproto3.Sync{}}
		ok(a, execute...)
		ok(b, sql("SELECT id FROM mails WHERE mail = 'ada@example.com'"))

		refused(a, execute...)
		refused(b, sql("SELECT count(*) FROM people GROUP BY email"))
		refused(b, sql("SELECT id FROM mails ORDER BY mail"))
		refused(b, sql("DELETE FROM people WHERE email ~ 'x'"))
		refused(b, sql("DO $$ BEGIN PERFORM 1 FROM people WHERE email > 'b'; END $$"))

		ok(b, sql("SELECT id, email FROM people WHERE id = 1"))
		ok(b, sql("SELECT id FROM other WHERE email = 'x'"))
		ok(other, sql("SELECT id FROM people WHERE email LIKE 'a%'"))
		if n := strings.Count(g.recorded(t), "gatehouse.predicate"); n < 8 {
			t.Errorf("cleared %t: %d uses in predicates are recorded", cleared, n)
		}
	}
}

// recorded are the frames of all requests.
func (g *gate) recorded(t *testing.T) string {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []byte
	for _, tape := range g.tapes {
		tape.mu.Lock()
		for _, f := range tape.frames {
			if f.Kind == event.KindRequest {
				all = append(all, f.Payload...)
			}
		}
		tape.mu.Unlock()
	}
	return string(all)
}

// Over the quota a predicate can be held, and what is approved runs.
func TestQuotaOfPredicatesHolds(t *testing.T) {
	g := startGate(t, gateConfig{sql: peopleSQL})
	g.policy.columns = protecting(t, "public.people.email", event.Treatment{Kind: event.Redact})
	g.policy.spend = spending(quota.Limit{Predicates: 1}, event.Hold)
	a, b := g.as(t, "good"), g.as(t, "good")
	a.send(sql("SELECT id FROM people WHERE email LIKE 'a%'"))
	a.until("Z")
	for _, approved := range []bool{true, false} {
		b.send(sql("SELECT id FROM people WHERE email LIKE 'b%'"))
		p := <-g.desk.pending
		if p.Verdict.Rule != "gatehouse/quota" || p.Verdict.Reason != "the quota of 1 predicates of column public.people.email an hour is used up" {
			t.Errorf("held by %+v", p.Verdict)
		}
		if !slices.Contains(p.Request.Attrs, event.Attr{Key: event.AttrPredicate, Value: "public.people.email"}) {
			t.Errorf("the approver sees %q", p.Request.Attrs)
		}
		g.desk.decide <- event.Decision{Approved: approved}
		if got := b.until("Z"); slices.Contains(got, "D 2") != approved {
			t.Errorf("approved %t: %q", approved, got)
		}
	}
}

// Rows that show something of a column count; those that show nothing do not. Over
// the quota a result ends, and further requests for the column are refused, or
// held and then come whole.
func TestQuotaOfColumnRows(t *testing.T) {
	for _, over := range []event.Action{event.Block, event.Hold} {
		for _, how := range []event.Treatment{{Kind: event.KeepLast, Keep: 4}, {Kind: event.Redact}} {
			g := startGate(t, gateConfig{sql: peopleSQL})
			g.policy.columns = protecting(t, "public.people.email", how)
			g.policy.spend = spending(quota.Limit{Rows: 3}, over)
			rows := func(r *raw, query, until string) (n int) {
				r.send(sql(query))
				for _, m := range r.until(until) {
					if strings.HasPrefix(m, "D ") {
						n++
					}
				}
				return n
			}
			a, b := g.as(t, "good"), g.as(t, "good")
			if n := rows(a, "SELECT email FROM people", "Z"); n != 2 {
				t.Errorf("%s, %v: %d rows within the quota", over, how.Kind, n)
			}
			if how.Kind == event.Redact {
				if n := rows(b, "SELECT * FROM people", "Z"); n != 2 {
					t.Errorf("%s: %d redacted rows", over, n)
				}
				continue
			}
			if n := rows(b, "SELECT * FROM people", "E 53400"); n != 1 {
				t.Errorf("%s: %d rows, then the end", over, n)
			}
			b.gone()
			if n := rows(a, "SELECT id FROM people", "Z"); n != 2 {
				t.Errorf("%s: %d rows without the column", over, n)
			}
			a.send(sql("SELECT mail FROM mails"))
			if over == event.Hold {
				<-g.desk.pending
				g.desk.decide <- event.Decision{Approved: true}
			}
			got := a.until("Z")
			n := 0
			for _, m := range got {
				if strings.HasPrefix(m, "D ") {
					n++
				}
			}
			if over == event.Hold && n != 2 || over == event.Block && !slices.Contains(got, "E 53400") {
				t.Errorf("%s: %q", over, got)
			}
		}
	}
}
