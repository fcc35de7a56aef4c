package postgres

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/core/event"
	"gatehouse/core/lineage"
	"gatehouse/protocols/postgres/statement"
)

// Where writes are tracked, what a trigger, or a rule, stores of the row that is
// written is followed as if it were a statement of its own, as far as it can be read.

// A trigger is one of a table, or a rule that adds statements to its writes.
type trigger struct {
	name     string
	table    lineage.Name
	function string // "schema.name", in lower case; byRule for a rule
	instead  bool   // it stands in the place of the write
	each     *lineage.Each
	unread   string // why it is not followed, for people, if so
}

// String names it for people.
func (t *trigger) String() string {
	if t.function == byRule {
		return "rule " + t.name + " of " + t.table.String()
	}
	return "trigger " + t.name + " of " + t.table.String()
}

// byRule is in the place of a function where it is a rule. No function is called so.
const byRule = "\x00rule"

// triggersOf returns the triggers that run a function, "schema.name" in lower case, or
// the rules, for rows of the tables that names stand for, and of those that inherit from them.
func (w *world) triggersOf(ctx context.Context, tables []event.Object, function string) (found []*trigger, err error) {
	var oids []uint32
	var add func(r *lineage.Relation)
	add = func(r *lineage.Relation) {
		if oid := uint32(r.ID); !slices.Contains(oids, oid) {
			oids = append(oids, oid)
			for _, heir := range r.Heirs {
				add(heir)
			}
		}
	}
	for _, o := range tables {
		all, err := w.find(ctx, lineage.Name{Schema: o.Schema, Name: o.Name})
		if err != nil {
			return nil, err
		}
		for _, r := range all {
			add(r)
		}
	}
	for _, oid := range oids {
		all, err := w.triggers(ctx, oid)
		if err != nil {
			return nil, err
		}
		for _, t := range all {
			if t.function == function {
				found = append(found, t)
			}
		}
	}
	return found, nil
}

// triggers returns the triggers of a table that run the database's own functions, and
// its rules.
func (v *vocabulary) triggers(ctx context.Context, table uint32) ([]*trigger, error) {
	v.mu.Lock()
	all, known := v.triggered[table]
	v.mu.Unlock()
	if known {
		return all, nil
	}
	var texts []triggerText
	err := v.catalog.ask(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		texts, err = readTriggers(ctx, conn, table)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, text := range texts {
		if err := v.readTrigger(ctx, &text); err != nil {
			return nil, err
		}
		all = append(all, text.trigger)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.triggered) < maxHeads {
		v.triggered[table] = all
	}
	return all, nil
}

// A triggerText is a trigger as the catalogue has it.
type triggerText struct {
	*trigger
	language, source, definition string
	configured, deferrable, set  bool
}

func readTriggers(ctx context.Context, conn *pgx.Conn, table uint32) (all []triggerText, err error) {
	rows, err := conn.Query(ctx, `SELECT g.tgname, rn.nspname, r.relname, lower(n.nspname || '.' || p.proname), l.lanname, p.prosrc,
			CASE WHEN g.tgqual IS NULL THEN '' ELSE pg_get_triggerdef(g.oid) END,
			p.proconfig IS NOT NULL, g.tgdeferrable, g.tgoldtable IS NOT NULL OR g.tgnewtable IS NOT NULL, g.tgtype & 64 <> 0
		FROM pg_trigger g JOIN pg_class r ON r.oid = g.tgrelid JOIN pg_namespace rn ON rn.oid = r.relnamespace
		JOIN pg_proc p ON p.oid = g.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
		WHERE g.tgrelid = $1 AND n.nspname <> 'pg_catalog'
		UNION ALL
		SELECT w.rulename, n.nspname, r.relname, '', '', '', pg_get_ruledef(w.oid), false, false, false, w.is_instead
		FROM pg_rewrite w JOIN pg_class r ON r.oid = w.ev_class JOIN pg_namespace n ON n.oid = r.relnamespace
		WHERE w.ev_class = $1 AND w.ev_type <> '1'
		ORDER BY 1`, table)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (t triggerText, err error) {
		t.trigger = &trigger{}
		err = row.Scan(&t.name, &t.table.Schema, &t.table.Name, &t.function, &t.language, &t.source, &t.definition, &t.configured, &t.deferrable, &t.set, &t.instead)
		return t, err
	})
}

// readTrigger reads what a trigger does.
func (v *vocabulary) readTrigger(ctx context.Context, t *triggerText) error {
	if t.language == "" {
		t.function = byRule
		read, err := v.analyzer.Rule(ctx, t.definition)
		if err != nil {
			return err
		}
		t.unread = read.Unread
		t.each = &lineage.Each{Table: t.table, Rows: statement.TriggerRows, When: read.When, Do: read.Do}
		return nil
	}
	switch {
	case t.language != "plpgsql":
		t.unread = "its function, in " + t.language + ", is not read"
	case t.configured:
		t.unread = "its function has settings of its own"
	case t.deferrable:
		t.unread = "it may run when the transaction ends"
	case t.set:
		t.unread = "it sees the rows of a statement as a table"
	case t.instead:
		t.unread = "it stands in the place of the write"
	}
	if t.unread != "" {
		return nil
	}
	when := ""
	if _, rest, has := strings.Cut(t.definition, " WHEN ("); has {
		if at := strings.LastIndex(rest, ") EXECUTE "); at >= 0 {
			when = rest[:at]
		}
	}
	if when == "" && t.definition != "" {
		t.unread = "its condition cannot be read"
		return nil
	}
	read, err := v.analyzer.Trigger(ctx, t.source, when)
	if err != nil {
		return err
	}
	t.unread = read.Unread
	t.each = &lineage.Each{Table: t.table, Rows: statement.TriggerRows, Constants: statement.TriggerConstants, When: read.When, Set: read.Set, Do: read.Do}
	return nil
}

// fired returns the tables for whose rows the i-th of statements is of a trigger or a
// rule, and the trigger's function, "schema.name" in lower case, or byRule; none where
// it is of none.
func fired(statements []event.Statement, i int) (tables []event.Object, function string) {
	st := &statements[i]
	switch {
	case st.Parent < 0 || st.Parent >= i:
	case st.Within == "rule":
		return statements[st.Parent].Writes, byRule
	case st.Within == "trigger" && len(st.Functions) == 1:
		return statements[st.Parent].Writes, strings.ToLower(st.Functions[0])
	}
	return nil, ""
}

// addsOnly is why writes to a table may be rewritten, if they are by more than rules
// that are followed, which only add statements.
func (w *world) addsOnly(ctx context.Context, r *lineage.Relation) (why string, err error) {
	all, err := w.triggers(ctx, uint32(r.ID))
	if _, answered := errors.AsType[*pgconn.PgError](err); answered {
		return r.Rewritten, nil
	}
	for _, t := range all {
		if t.unread != "" && (t.function == byRule || t.instead) {
			return "the " + t.String() + " is not followed: " + t.unread, nil
		}
	}
	return "", err
}

// follows is whether all triggers of tables that run a function are followed where
// writes are tracked. If not, it says of one why.
func (s *session) follows(ctx context.Context, tables []event.Object, function string) (is bool, why string, err error) {
	if function == "" || !s.tracks() {
		return false, "", nil
	}
	where, _ := s.temporaries()
	// In whatever schema they are.
	w := &world{vocabulary: s.vocabulary(), temporary: where, protected: s.ps.Terms().Protected}
	found, err := w.triggersOf(ctx, tables, function)
	if _, answered := errors.AsType[*pgconn.PgError](err); answered {
		return false, "Its triggers cannot be read at the moment.", nil
	}
	for _, t := range found {
		if t.unread != "" {
			return false, "The " + t.String() + " is not followed: " + t.unread + ".", nil
		}
	}
	return len(found) > 0, "", err
}

// triggered returns what columns hold once the triggers have run that the statements of
// m fire, as far as they are followed, or why they cannot.
func (m *mover) triggered(ctx context.Context) (all []*Taint, ref *refusal, err error) {
	var contexts []subject
	for _, sub := range m.subjects {
		in := subject{uncertain: true}
		if sub != nil {
			in = *sub
			in.facts, in.index, in.held, in.parameters, in.edition = nil, 0, nil, "", "" // the server reads it by itself
		}
		if !slices.Contains(contexts, in) {
			contexts = append(contexts, in)
		}
	}
	v := m.session.vocabulary()
	for i := range m.statements {
		tables, function := fired(m.statements, i)
		if function == "" {
			continue
		}
		for _, in := range contexts {
			w := &world{vocabulary: v, path: searchPath(in.path), temporary: in.temporary, protected: m.protected}
			found, err := w.triggersOf(ctx, tables, function)
			if err != nil {
				return nil, nil, err
			}
			for _, t := range found {
				if t.unread != "" {
					continue // refused as what is unseen, where it may read what is protected
				}
				in.trigger = t
				told, err := v.tell(ctx, in, m.protected, m.all)
				switch {
				case err != nil:
					return nil, nil, err
				case told.refusal != "" && m.protected.Strict():
					return nil, refuseTracked("a write is refused whose "+t.String()+" moves protected values on", cmp.Or(told.hint, "Of it: "+told.refusal+".")), nil
				}
				if all = append(all, told.taints...); told.fails || len(told.taints) > 0 {
					m.fails.Store(true)
				}
			}
		}
	}
	return all, nil, nil
}

// judgeTrigger decides about what a trigger does, beside what it stores: on protected
// columns nothing of it may depend.
func (j *judgement) judgeTrigger() {
	r := &j.result.Rows
	compared, _ := j.compared()
	if compared || r.Reason != "" || j.isProtected(r.Matched, r.Ordered, r.Counted) {
		j.refuse("what it does depends on protected columns", "")
	}
}
