package postgres

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/event"
	"gatehouse/core/lineage"
	"gatehouse/core/protect"
	"gatehouse/protocols/postgres/statement"
)

// Where policy says that writes are tracked, a statement that stores values of
// protected columns elsewhere passes, and the columns that they are stored in count
// as coming from these: for all sessions, before the statement goes to the server,
// and for good.

// computed is whether one of columns holds what was computed of protected ones and
// stored there.
func (j *judgement) computed(columns []lineage.Column) bool {
	return slices.ContainsFunc(columns, func(c lineage.Column) bool {
		of, is := columnOf(c)
		return is && j.origins[of].computed
	})
}

// sources are the protected columns of the resource among those that f takes, and
// whether what is stored is something else than their values as they are.
func (j *judgement) sources(f *lineage.Flow) (from []string, computed bool) {
	to, _ := columnOf(f.To)
	for i, list := range [][]lineage.Column{f.Exact, f.Derived} {
		for _, c := range list {
			of, _ := columnOf(c)
			for _, name := range j.names[c] {
				if _, is := j.all.At(name, j.keys(c)); is {
					from = append(from, name)
					// A type of another kind holds another part of the value.
					computed = computed || i > 0 || j.origins[of].computed || f.To.ID > 0 && j.origins[of].typ != j.origins[to].typ
				}
			}
		}
	}
	slices.Sort(from)
	return slices.Compact(from), computed
}

// track notes what the column holds that f stores protected values in. It returns
// why that cannot be tracked, for people.
func (j *judgement) track(f *lineage.Flow) string {
	if j.all.Uses().Writes != protect.Tracked {
		return ""
	}
	from, computed := j.sources(f)
	if len(from) == 0 {
		return ""
	}
	to, known := columnOf(f.To)
	o := j.origins[to]
	t := &Taint{Table: to.table, Number: to.number, Relation: f.To.Relation, Column: f.To.Name, From: from, Computed: computed,
		Temporary: strings.HasPrefix(f.To.Relation, "pg_temp_")}
	switch {
	case f.By != "":
		return "a function keeps it"
	case j.redefined:
		return "definitions change in the transaction"
	case j.uncertain:
		return "which temporary tables the session has is not known"
	case !known && f.To.Relation == j.into.String() && j.into.Name != "":
		t.Schema, t.Relation = j.into.Schema, j.into.Name
		t.Table, t.Number = 0, 0
		if strings.HasPrefix(t.Schema, "pg_temp") {
			t.Schema = ""
		}
		j.makes = true
		t.Temporary = slices.Contains(j.facts.Statements[j.facts.Top(j.index)].Options, "TEMPORARY")
	case !known || len(o.names) == 0:
		return "relation " + f.To.Relation + " is not known"
	case o.view:
		return "what view " + f.To.Relation + " writes to may change meanwhile"
	case o.lineage == event.LineageUnknown:
		return "where " + f.To.Relation + " stores it is not known"
	}
	j.taints = append(j.taints, t)
	if known { // by then another may have the name
		j.taints = append(j.taints, &Taint{Relation: o.relation, Column: "*", From: from, Computed: true})
	}
	return ""
}

// makesAlone is whether facts are of one statement that makes a table of what it
// reads: that reads before anything is defined.
func makesAlone(facts *statement.Result) bool {
	if facts.Len() != 1 {
		return false
	}
	_, is := facts.Query(0).(*lineage.Create)
	return is
}

// A mover is a statement on its way that may store what it reads elsewhere. It was
// judged by what was known of columns when it was sent.
type mover struct {
	session    *session
	subjects   []*subject
	statements []event.Statement
	protected  *protect.Columns
	all        *protect.Columns
	alters     bool // it changes a table in a way that may move values
	cause      Cause
	fails      atomic.Bool // it may fail for protected columns by what it fires
	stores     []*Taint    // what it stores; guarded by mu of the taints
}

// maxMovers is how many such statements of a resource may be on their way.
const maxMovers = 10_000

// enter counts m in. It is false where there are too many.
func (t *taints) enter(m *mover) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.movers) >= maxMovers {
		return false
	}
	t.movers[m] = struct{}{}
	return true
}

// leave counts m out.
func (t *taints) leave(m *mover) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.movers, m)
}

// moving are the movers of other sessions in the database of s.
func (t *taints) moving(s *session) (all []*mover) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for m := range t.movers {
		if m.session != s && m.session.database == s.database {
			all = append(all, m)
		}
	}
	return all
}

// tracks is whether what s stores elsewhere of protected columns is tracked.
func (s *session) tracks() bool {
	all := s.ps.Terms().AllProtected
	return all.Strict() && all.Uses().Writes == protect.Tracked
}

// mayMove is whether statements may store what they read.
func mayMove(statements []event.Statement) bool {
	return slices.ContainsFunc(statements, func(st event.Statement) bool {
		return st.Opaque || len(st.Writes) > 0 || writes(&st) != ""
	})
}

func refuseTracked(why, hint string) *refusal {
	return &refusal{code: codeAccessDenied, message: "gatehouse: " + why + because, hint: hint}
}

// track makes the columns count as protected in which e stores values of protected
// ones, before it goes to the server. A refusal says why it cannot go. Subjects that
// are not of facts were prepared before.
func (s *session) track(ctx context.Context, e *owed, facts *statement.Result, subjects []*subject, req *event.Request) (*refusal, error) {
	statements := req.Statements
	if !s.tracks() || !mayMove(statements) {
		return nil, nil
	}
	known := s.resource.taints
	if known == nil {
		return refuseTracked("writes cannot be tracked, since there is no file for it", ""), nil
	}
	terms := s.ps.Terms()
	for _, sub := range subjects {
		if sub != nil && sub.facts != facts {
			// The server may still know by its names what they stood for then.
			before := &subject{sense: sub.sense}
			before.path = ""
			subjects = append(subjects[:len(subjects):len(subjects)], before)
		}
	}
	m := &mover{session: s, subjects: subjects, statements: statements, protected: terms.Protected, all: terms.AllProtected}
	m.cause = Cause{Session: terms.Session.ID, Exchange: e.x.ID, At: time.Now().UTC().Round(0), Statement: beginning(req.Payload, maxCauseText),
		Issuer: terms.Session.Principal.Issuer, Subject: terms.Session.Principal.Subject, Name: terms.Session.Principal.Name}
	m.alters = slices.ContainsFunc(statements, func(st event.Statement) bool { return st.Runs && (st.Opaque || st.Kind == "ALTER TABLE") })
	if !known.enter(m) {
		return refuseTracked("too many statements that write are on their way", ""), nil
	}
	// From here on who taints a column looks at m.
	ref, err := s.taint(ctx, e, m)
	if ref != nil || err != nil {
		known.leave(m)
		return ref, err
	}
	e.moving, e.fails = m, e.fails || m.fails.Load()
	return nil, nil
}

// beginning returns the first n bytes of a text, or a few less.
func beginning(text []byte, n int) string {
	if len(text) <= n {
		return strings.ToValidUTF8(string(text), "\uFFFD")
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return strings.ToValidUTF8(string(text[:n]), "\uFFFD") + "…"
}

// maxMoves is through how many statements values are followed that are on their way
// at the same time.
const maxMoves = 100

// taint keeps what columns hold once m, which is e's, has run, and once others have
// that are on their way.
func (s *session) taint(ctx context.Context, e *owed, m *mover) (*refusal, error) {
	for range maxMoves {
		found, ref, err := m.taints(ctx)
		if ref != nil || err != nil {
			return ref, err
		}
		kept, added, err := m.keep(ctx, found)
		if err != nil {
			s.env.Log.Error("what a statement stores cannot be tracked", append(s.logAttrs(), "error", err)...)
			return refuseTracked("what the statement stores cannot be tracked", ""), ctx.Err()
		}
		if !added {
			e.makes = slices.DeleteFunc(kept, func(t *Taint) bool { return t.Table > 0 })
			return nil, nil
		}
		for _, other := range s.resource.taints.moving(s) {
			found, ref, err := other.taints(ctx)
			if err == nil && ref == nil && !other.alters {
				_, _, err = other.keep(ctx, found)
			}
			if ref != nil || err != nil || other.alters {
				return refuseTracked("a statement is refused while another is on its way that may store elsewhere what it stores", "Send it again."), ctx.Err()
			}
		}
	}
	return refuseTracked("what the statement stores goes through too many others", "Send it again."), nil
}

// taints returns what columns hold once m has run, by what is known now, or why it
// cannot run.
func (m *mover) taints(ctx context.Context) (all []*Taint, ref *refusal, err error) {
	for _, sub := range m.subjects {
		if sub == nil {
			continue
		}
		t, err := m.session.vocabulary().tell(ctx, sub.sense, m.protected, m.all)
		switch {
		case err != nil:
			m.session.env.Log.Warn("what a statement names cannot be looked up", append(m.session.logAttrs(), "error", err)...)
			return nil, notLookedUp, ctx.Err()
		case t.refusal != "" && m.protected.Strict():
			return nil, t.refused(), nil
		case t.makes && !makesAlone(sub.facts):
			return nil, refuseTracked("a table that holds what is read from protected columns has to be made by a statement of its own", ""), nil
		}
		all = append(all, t.taints...)
	}
	stored, ref, err := m.triggered(ctx)
	if err != nil {
		m.session.env.Log.Warn("the triggers of what is written cannot be looked up", append(m.session.logAttrs(), "error", err)...)
		return nil, notLookedUp, ctx.Err()
	}
	if ref == nil && m.protected.Strict() {
		ref, err = m.session.refuseUnseen(ctx, m.statements)
	}
	return append(all, stored...), ref, err
}

// keep makes taints that m causes count and durable, with those of the columns that
// follow them. It returns them, and whether they say more than was known.
func (m *mover) keep(ctx context.Context, found []*Taint) (all []*Taint, more bool, err error) {
	if len(found) == 0 {
		return nil, false, nil
	}
	s := m.session
	for _, t := range found {
		one := *t
		one.Database, one.Session, one.At, one.Causes = s.database, m.cause.Session, m.cause.At, []Cause{m.cause}
		all = append(all, &one)
	}
	err = s.catalog.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		for _, t := range all {
			if t.Table > 0 {
				continue
			}
			rows, err := conn.Query(ctx, "SELECT oid FROM pg_class WHERE relname = $1", t.Relation)
			if err != nil {
				return err
			}
			if t.Before, err = pgx.CollectRows(rows, pgx.RowTo[uint32]); err != nil {
				return err
			}
		}
		all, err = following(ctx, conn, all)
		return err
	})
	if err != nil {
		return nil, false, err
	}
	added, err := s.resource.taints.add(all, m)
	if errors.Is(err, errTooManyTaints) {
		var gone []*Taint
		if gone, err = s.catalog.dropGone(ctx); err == nil && len(gone) > 0 {
			err = s.ps.Notice(event.Notice{Code: "untracked", Text: "the columns are gone: " + nameTaints(gone)})
		}
		if err == nil {
			added, err = s.resource.taints.add(all, m)
		}
	}
	if err == nil && len(added) > 0 {
		err = s.ps.Notice(event.Notice{Code: "tracked", Text: describeTaints(added)})
	}
	return all, len(added) > 0, err
}

// following returns taints with those of the columns that a foreign key makes follow
// them: ON UPDATE CASCADE.
func following(ctx context.Context, conn *pgx.Conn, all []*Taint) ([]*Taint, error) {
	for i := 0; i < len(all); i++ {
		t := all[i]
		if t.Table == 0 {
			continue
		}
		rows, err := conn.Query(ctx, `SELECT a.attrelid, a.attnum, n.nspname || '.' || r.relname, a.attname
			FROM pg_constraint c
			JOIN generate_subscripts(c.confkey, 1) k ON c.confkey[k] = $2
			JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[k]
			JOIN pg_class r ON r.oid = a.attrelid
			JOIN pg_namespace n ON n.oid = r.relnamespace
			WHERE c.contype = 'f' AND c.confupdtype = 'c' AND c.confrelid = $1`, t.Table, int16(t.Number))
		if err != nil {
			return nil, err
		}
		next := *t
		var number int16
		_, err = pgx.ForEachRow(rows, []any{&next.Table, &number, &next.Relation, &next.Column}, func() error {
			follows := next
			follows.Number = uint16(number)
			if !slices.ContainsFunc(all, func(u *Taint) bool { return u.same(&follows) && slices.Equal(u.From, follows.From) }) {
				all = append(all, &follows)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// recheck ends the session where what h says of e's rows is not so any more, because
// a statement of another session stored protected values meanwhile in what they come
// from.
func (s *session) recheck(ctx context.Context, e *owed, h *head) error {
	if h != nil && h.described != nil {
		h = h.described
	}
	if h == nil || h.reading == nil {
		return nil
	}
	now := s.resource.taints.more()
	if now == max(h.reading.tainted, e.rechecked) {
		return nil
	}
	r := *h.reading
	again := &head{oids: slices.Clone(h.oids)}
	for i := range h.Fields {
		again.Fields = append(again.Fields, event.Field{Name: h.Fields[i].Name, Type: h.Fields[i].Type})
	}
	err := s.catalog.resolve(ctx, h.columns, again)
	if err == nil {
		s.look(ctx, &r)
		r.apply(again, h.columns)
	}
	same := err == nil && r.refusal() == h.reading.refusal()
	for i := range h.Fields {
		a, b := &again.Fields[i], &h.Fields[i]
		same = same && a.Lineage == b.Lineage && slices.Equal(a.Origins, b.Origins) &&
			slices.EqualFunc(a.Within, b.Within, func(p, q event.Place) bool { return p.Origin == q.Origin && slices.Equal(p.Keys, q.Keys) })
	}
	if !same {
		return &endError{refusal{code: codeAccessDenied, message: "gatehouse: a column that the result comes from holds protected values now",
			hint: "Connect again."}, err}
	}
	e.rechecked = now
	return nil
}

// refusal is why the statement is refused, if it is.
func (r *reading) refusal() string {
	if r.told == nil {
		return ""
	}
	return r.told.refusal
}
