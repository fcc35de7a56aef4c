package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/core/event"
	"gatehouse/core/identity/issuer"
)

// tourTime bounds the tour, once everything is started.
const tourTime = 2 * time.Minute

// tour lets the agent work, decides what is held as a scripted approver, and
// checks every outcome.
func (d *demo) tour(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tourTime)
	defer cancel()
	t := &tour{demo: d}
	for _, chapter := range []struct {
		title string
		run   func(context.Context) error
	}{
		{"Who may come in", t.identity},
		{"What the agent sees", t.masking},
		{"What the agent may not do", t.blocking},
		{"What somebody must approve", t.approving},
		{"What is left as evidence", t.evidence},
	} {
		d.title(chapter.title)
		if err := chapter.run(ctx); err != nil {
			t.check(chapter.title, err)
		}
	}
	if t.failed > 0 {
		return fmt.Errorf("%d of %s failed", t.failed, count(t.checks, "check"))
	}
	fmt.Fprintf(d.w, "\nAll %s passed.\n", count(t.checks, "check"))
	return nil
}

// A tour counts what it checks.
type tour struct {
	*demo
	checks, failed int
	sessions       []string // recorded by the agent
}

// check prints whether what was expected is so: err is nil, or what is not.
func (t *tour) check(what string, err error) {
	t.checks++
	if err != nil {
		t.failed++
		fmt.Fprintf(t.w, "  ✗ %s: %v\n", what, err)
		return
	}
	fmt.Fprintf(t.w, "  ✓ %s\n", what)
}

func expect(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

// identity: without a good token there is no session.
func (t *tour) identity(ctx context.Context) error {
	expired, err := t.issuer.Mint(with(t.agent().Claims(), "exp", time.Now().Add(-time.Hour).Unix()))
	if err != nil {
		return err
	}
	stranger, err := t.issuer.Mint(with(t.agent().Claims(), "groups", []string{"strangers"}))
	if err != nil {
		return err
	}
	for _, c := range []struct{ what, token, code string }{
		{"a password that is no token is refused", "hunter2", "28P01"},
		{"an expired token is refused", expired, "28P01"},
		{"a principal of no known group is refused", stranger, "28000"},
	} {
		a, err := t.connectWith(ctx, c.token)
		if err == nil {
			err = errors.Join(errors.New("it was let in"), a.close(ctx))
			t.check(c.what, err)
			continue
		}
		t.check(c.what, isCode(err, c.code))
	}
	return nil
}

func with(c issuer.Claims, key string, value any) issuer.Claims {
	c[key] = value
	return c
}

// isCode returns nil if err is a server's error of that SQLSTATE.
func isCode(err error, code string) error {
	e, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return fmt.Errorf("got %v, want an error %s", err, code)
	}
	return expect(e.Code == code, "got %s %s, want code %s", e.Code, e.Message, code)
}

// enter connects the agent and remembers its recording.
func (t *tour) enter(ctx context.Context) (*agent, error) {
	a, err := t.connect(ctx)
	if err == nil {
		t.sessions = append(t.sessions, a.session)
	}
	return a, err
}

// masking: rows come back without what is sensitive, whichever way they are
// asked for.
func (t *tour) masking(ctx context.Context) error {
	a, err := t.enter(ctx)
	if err != nil {
		return err
	}
	defer a.close(ctx)
	if err := a.printRows(ctx, t.w, customersQuery); err != nil {
		return err
	}
	for _, c := range []struct{ what, sql string }{
		{"e-mail addresses, cards and SSNs are masked", customersQuery},
		{"aliases and expressions do not help", "SELECT upper(email) AS a, card || '' AS b, left(ssn, 11) AS c FROM customers LIMIT 50"},
		{"nor does a whole row", "SELECT customers FROM customers LIMIT 50"},
	} {
		_, rows, err := a.rows(ctx, c.sql)
		if err == nil {
			err = t.clean(ctx, fmt.Sprint(rows))
		}
		if err == nil && len(rows) == 0 {
			err = errors.New("no rows came")
		}
		t.check(c.what, err)
	}
	var name string
	var n int
	err = a.conn.QueryRow(ctx, "SELECT name, length(name) FROM customers WHERE id = $1", 3).Scan(&name, &n)
	t.check("what is not sensitive is as it was, also in binary", errors.Join(err, expect(len(name) == n && n > 0, "got %q", name)))
	return nil
}

// clean returns an error if text contains a sensitive value of a customer.
func (t *tour) clean(ctx context.Context, text string) error {
	secrets, err := t.secrets(ctx)
	if err != nil {
		return err
	}
	text = strings.ToLower(text)
	for _, s := range secrets {
		if strings.Contains(text, s) {
			return fmt.Errorf("%q is there", s)
		}
	}
	return nil
}

// secrets are all sensitive values, as the server has them.
func (t *tour) secrets(ctx context.Context) (values []string, err error) {
	err = t.direct(ctx, func(c *pgx.Conn) error {
		rows, err := c.Query(ctx, "SELECT lower(unnest(ARRAY[email, card, ssn])) FROM customers")
		if err != nil {
			return err
		}
		values, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	return values, err
}

// direct uses the server past the gate.
func (t *tour) direct(ctx context.Context, use func(*pgx.Conn) error) error {
	c, err := pgx.Connect(ctx, t.postgres.URL("shop"))
	if err != nil {
		return err
	}
	return errors.Join(use(c), c.Close(ctx))
}

// number asks the server, past the gate, for one number.
func (t *tour) number(ctx context.Context, sql string) (n float64, err error) {
	err = t.direct(ctx, func(c *pgx.Conn) error { return c.QueryRow(ctx, sql).Scan(&n) })
	return n, err
}

// blocking: what the guard refuses does not happen, and a transaction around
// it fails as a whole.
func (t *tour) blocking(ctx context.Context) error {
	a, err := t.enter(ctx)
	if err != nil {
		return err
	}
	defer a.close(ctx)
	err = a.exec(ctx, "DROP TABLE orders")
	if err != nil {
		a.printStatement(t.w, "DROP TABLE orders")
		fmt.Fprintf(t.w, "  %v\n", err)
	}
	t.check("DROP TABLE is blocked with 42501", isCode(err, "42501"))
	t.check("an UPDATE of all rows is blocked", isCode(a.exec(ctx, "UPDATE accounts SET balance = 0"), "42501"))
	err = a.exec(ctx, "BEGIN; INSERT INTO orders (customer_id, item, amount, placed) VALUES (1, 'mouse', 1, now())")
	if err == nil {
		err = isCode(a.exec(ctx, "TRUNCATE orders"), "42501")
	}
	commit := a.exec(ctx, "COMMIT")
	n, direct := t.number(ctx, "SELECT count(*) FROM orders")
	t.check("a refused statement fails the transaction around it",
		errors.Join(err, commit, direct, expect(n == 1000, "there are %v orders, want 1000", n)))
	_, rows, err := a.rows(ctx, "SELECT count(*) FROM orders")
	t.check("the connection goes on", errors.Join(err, expect(len(rows) == 1, "got %d rows", len(rows))))
	return nil
}

// evidence: all of it is recorded, masked, and verifies.
func (t *tour) evidence(ctx context.Context) error {
	if len(t.sessions) == 0 {
		return errors.New("nothing was recorded")
	}
	if err := t.showRecording(ctx, t.sessions[min(2, len(t.sessions)-1)]); err != nil {
		return err
	}
	var all strings.Builder
	kinds := make(map[event.Kind]int)
	for _, id := range t.sessions {
		for f, err := range t.gate.recorder.Reader().Frames(ctx, id) {
			if err != nil {
				return err
			}
			kinds[f.Kind]++
			all.Write(f.Payload)
		}
	}
	t.check("requests, verdicts, decisions and rows are recorded", expect(kinds[event.KindRequest] >= 10 && kinds[event.KindVerdict] >= 10 &&
		kinds[event.KindDecision] == 2 && kinds[event.KindData] > 0, "got %v", kinds))
	t.check("no sensitive value is", t.clean(ctx, all.String()))
	token, err := t.issuer.Mint(t.agent().Claims())
	if err != nil {
		return err
	}
	header, _, _ := strings.Cut(token, ".")
	t.check("nor a token, nor the target's password", expect(!strings.Contains(all.String(), header) && !strings.Contains(all.String(), "only-the-gate-knows"), "one is there"))
	slices.Sort(t.sessions)
	return t.verifying(ctx)
}
