package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgproto3/v2"
	"github.com/jackc/pgx/v5"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/core/protect"
)

// A book is a policy that tests change.
type book struct {
	holdFor time.Duration

	mu      sync.Mutex
	version int
	plugins []pipeline.Plugin
	quota   pipeline.Quota
	columns *protect.Columns
	all     *protect.Columns // nil: those
	spend   func(event.Principal) pipeline.ColumnQuotas
	denied  error
	inForce context.Context
	retire  context.CancelFunc
	holders map[int]int // sessions by the version that they use
}

func newBook(holdFor time.Duration, plugins ...pipeline.Plugin) *book {
	b := &book{holdFor: holdFor, holders: map[int]int{}}
	b.change(nil, plugins...)
	return b
}

// change puts other plugins in force, or lets nobody in.
func (b *book) change(denied error, plugins ...pipeline.Plugin) {
	b.mu.Lock()
	retire := b.retire
	b.version++
	b.plugins, b.denied = plugins, denied
	b.inForce, b.retire = context.WithCancel(context.Background())
	b.mu.Unlock()
	if retire != nil {
		retire()
	}
}

func (b *book) terms(s *event.Session) (pipeline.Terms, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.denied != nil {
		return pipeline.Terms{}, b.denied
	}
	as, version := *s, b.version
	as.Policy = strconv.Itoa(version)
	b.holders[version]++
	all, spend := b.all, pipeline.ColumnQuotas{}
	if all == nil {
		all = b.columns
	}
	if b.spend != nil {
		spend = b.spend(s.Principal)
	}
	return pipeline.Terms{
		AllProtected: all, Columns: spend,
		Session: &as, Plugins: b.plugins, HoldFor: b.holdFor, Quota: b.quota, Protected: b.columns, InForce: b.inForce,
		Renew: func(context.Context) (pipeline.Terms, error) { return b.terms(s) },
		Release: func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			if b.holders[version]--; b.holders[version] == 0 {
				delete(b.holders, version)
			}
		},
	}, nil
}

// used are the versions that sessions use.
func (b *book) used() []int {
	b.mu.Lock()
	defer b.mu.Unlock()
	var vs []int
	for v := range b.holders {
		vs = append(vs, v)
	}
	return vs
}

// A reasonError is what a client may read.
type reasonError string

func (e reasonError) Error() string  { return string(e) }
func (e reasonError) Reason() string { return string(e) }

var hideEmail = columns{"public.customers.email": {Kind: event.Redact}}

const customersSQL = "CREATE TABLE customers (id int, email text); INSERT INTO customers VALUES (1, 'a@example.com'), (2, 'b@example.com')"

func sql(text string) pgproto3.FrontendMessage { return &pgproto3.Query{String: text} }

// A session that is open goes over to a new policy, recorded, and an idle one
// does so at once, so that nothing keeps the old plugins.
func TestOpenSessionsGoOverToANewPolicy(t *testing.T) {
	g := startGate(t, gateConfig{sql: customersSQL})
	r := g.raw(t)
	r.send(sql("SELECT email FROM customers WHERE id = 1"))
	if got := r.until("Z"); !slices.Contains(got, "D a@example.com") {
		t.Fatalf("got %q", got)
	}
	g.policy.change(nil, hideEmail)
	waitFor(t, func() bool { return slices.Equal(g.policy.used(), []int{2}) })
	r.send(sql("SELECT email FROM customers WHERE id = 1"))
	if got := r.until("Z"); !slices.Contains(got, "D [redacted]") {
		t.Errorf("under the new policy: %q", got)
	}
	var notes []string
	for _, f := range g.tapes[0].all() {
		if f.Kind == event.KindNotice {
			var n event.Notice
			if err := n.Decode(f.Payload); err != nil {
				t.Fatal(err)
			}
			notes = append(notes, fmt.Sprint(n.Code, n.Attrs))
		}
	}
	if want := []string{"policy[{gatehouse.policy 2} {gatehouse.policy_before 1}]"}; !slices.Equal(notes, want) {
		t.Errorf("recorded %q, want %q", notes, want)
	}
	r.Close()
	waitFor(t, func() bool { return len(g.policy.used()) == 0 })
}

// underWay returns a client whose query waits for the blocker's COMMIT.
func (g *gate) underWay(t *testing.T) (r *raw, blocker *pgx.Conn) {
	t.Helper()
	blocker = g.direct(t)
	if _, err := blocker.Exec(t.Context(), "BEGIN; LOCK TABLE customers"); err != nil {
		t.Fatal(err)
	}
	r = g.raw(t)
	r.send(sql("SELECT email FROM customers WHERE id = 1"))
	waitFor(t, func() bool {
		return g.one(t, "SELECT count(*)::text FROM pg_locks WHERE NOT granted") == "1"
	})
	return r, blocker
}

// A response that is under way ends as it was judged, masks included. What is
// asked behind it is judged by the new policy.
func TestResponsesUnderWayEndUnderTheirPolicy(t *testing.T) {
	g := startGate(t, gateConfig{sql: customersSQL, plugins: []pipeline.Plugin{hideEmail}})
	r, blocker := g.underWay(t)
	g.policy.change(nil)
	r.send(sql("SELECT email FROM customers WHERE id = 2"))
	if got := g.policy.used(); !slices.Equal(got, []int{1}) {
		t.Errorf("a response is under way, and the versions in use are %v", got)
	}
	if _, err := blocker.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if got := r.until("Z"); !slices.Contains(got, "D [redacted]") {
		t.Errorf("judged before: %q", got)
	}
	if got := r.until("Z"); !slices.Contains(got, "D b@example.com") {
		t.Errorf("judged after: %q", got)
	}
	if got := g.policy.used(); !slices.Equal(got, []int{2}) {
		t.Errorf("versions in use: %v", got)
	}
}

// Once a response is over, a session that asks nothing more goes over too.
func TestSessionsGoOverWhenTheyBecomeIdle(t *testing.T) {
	g := startGate(t, gateConfig{sql: customersSQL, plugins: []pipeline.Plugin{hideEmail}})
	r, blocker := g.underWay(t)
	g.policy.change(nil)
	if _, err := blocker.Exec(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	r.until("Z")
	waitFor(t, func() bool { return slices.Equal(g.policy.used(), []int{2}) })
}

// A portal that was bound before is judged and described again when it is
// executed after: in one pipeline, and suspended in the middle.
func TestPortalsAreJudgedAgainUnderANewPolicy(t *testing.T) {
	g := startGate(t, gateConfig{sql: customersSQL})
	r := g.raw(t)
	r.send(sql("BEGIN"))
	r.until("Z")
	r.send(&pgproto3.Parse{Name: "s", Query: "SELECT email FROM customers ORDER BY id"},
		&pgproto3.Bind{DestinationPortal: "p", PreparedStatement: "s"},
		&pgproto3.Execute{Portal: "p", MaxRows: 1}, &pgproto3.Flush{})
	if got := r.until("s"); !slices.Contains(got, "D a@example.com") {
		t.Fatalf("got %q", got)
	}
	g.policy.change(nil, hideEmail)
	r.send(&pgproto3.Execute{Portal: "p", MaxRows: 1}, &pgproto3.Flush{})
	if got := r.until("s"); !slices.Contains(got, "D [redacted]") {
		t.Errorf("under the masking policy: %q", got)
	}
	g.policy.change(nil, rule(func(*event.Request) event.Verdict {
		return event.Verdict{Rule: "test/closed", Reason: "closed"}
	}))
	r.send(&pgproto3.Execute{Portal: "p", MaxRows: 1}, &pgproto3.Sync{})
	if got := r.until("Z"); !slices.Equal(got, []string{"E 42501", "Z E"}) {
		t.Errorf("under the blocking policy: %q", got)
	}
}

// An approval is for what was shown under the policy of then.
func TestPolicyChangeEndsWaitingApprovals(t *testing.T) {
	g := startGate(t, gateConfig{plugins: []pipeline.Plugin{rule(words)}})
	r := g.raw(t)
	r.send(sql("SELECT 'ask'"))
	r.expect("N gatehouse: waiting for approval")
	<-g.desk.pending
	g.policy.change(nil, rule(words))
	if got := r.until("Z"); !slices.Equal(got, []string{"E 42501", "Z I"}) {
		t.Errorf("the held request ended with %q", got)
	}
	if err := <-g.desk.ended; err == nil || !strings.Contains(err.Error(), "the policy changed") {
		t.Errorf("the approver was told %v", err)
	}
	r.send(sql("SELECT 1"))
	if got := r.until("Z"); !slices.Contains(got, "D 1") {
		t.Errorf("afterwards: %q", got)
	}
}

// A policy that lets a principal reach a resource no more ends its sessions:
// idle ones at once, others at their next idle point or, within a transaction,
// at their next request.
func TestSessionsThatAPolicyNoLongerLetsIn(t *testing.T) {
	g := startGate(t, gateConfig{sql: customersSQL})
	idle, open := g.raw(t), g.raw(t)
	open.send(sql("BEGIN; DELETE FROM customers"))
	open.until("Z")
	busy := g.raw(t)
	busy.send(sql("SELECT pg_advisory_lock(1), pg_sleep(0)"))
	busy.until("Z")
	waiting := g.raw(t)
	waiting.send(sql("SELECT pg_advisory_lock(1)"))
	waitFor(t, func() bool {
		return g.one(t, "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == "1"
	})
	g.policy.change(reasonError(`no policy lets you reach "orders"`))
	for name, r := range map[string]*raw{"idle": idle, "busy": busy} {
		kind, body := r.message()
		var m pgproto3.ErrorResponse
		if err := m.Decode(body); err != nil || kind != 'E' || m.Severity != "FATAL" || m.Code != "42501" || !strings.Contains(m.Message, "no policy lets you reach") {
			t.Errorf("%s: %q %+v, %v", name, kind, m, err)
		}
		r.gone()
	}
	if got := waiting.until("Z"); !slices.Contains(got, "C SELECT 1") { // busy's end freed the lock
		t.Errorf("what was under way ended with %q", got)
	}
	waiting.expect("E 42501")
	waiting.gone()
	open.send(sql("COMMIT"))
	open.expect("E 42501")
	open.gone()
	if got := g.one(t, "SELECT count(*)::text FROM customers"); got != "2" {
		t.Errorf("%s customers are left: the transaction was committed", got)
	}
	waitFor(t, func() bool { return len(g.policy.used()) == 0 })
	g.policy.change(errors.New("closed"))
}
