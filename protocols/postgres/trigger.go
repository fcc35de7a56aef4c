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

// What a trigger, or a rule, does with the row that is written is followed as if it
// were a statement of its own, as far as it can be read.

// A trigger is one of a table, or a rule that adds statements to its writes.
type trigger struct {
	name     string
	table    lineage.Name
	function string // "schema.name", in lower case; byRule for a rule
	ways     string // of writing that fire it
	rows     bool   // it sees those that are written
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

// fired returns the triggers that st fires, and the rules that it runs, of the tables
// that its names may stand for.
func (w *world) fired(ctx context.Context, st *event.Statement) (found []*trigger, err error) {
	ways := writes(st)
	if ways == "" {
		return nil, nil
	}
	for _, o := range st.Writes {
		all, err := w.triggersOf(ctx, o)
		if err != nil {
			return nil, err
		}
		for _, t := range all {
			if strings.ContainsAny(t.ways, ways) {
				found = append(found, t)
			}
		}
	}
	return found, nil
}

// triggersOf returns all triggers and rules for what is written to what a name may
// stand for.
func (w *world) triggersOf(ctx context.Context, o event.Object) (found []*trigger, err error) {
	if o.Schema == "pg_catalog" || o.Schema == "information_schema" {
		return nil, nil
	}
	relations, err := w.find(ctx, lineage.Name{Schema: o.Schema, Name: o.Name})
	if err != nil {
		return nil, err
	}
	for _, r := range relations {
		if r.ID == 0 || r.Schema == "pg_catalog" || r.Schema == "information_schema" {
			continue
		}
		all, err := w.triggers(ctx, uint32(r.ID))
		if err != nil {
			return nil, err
		}
		found = append(found, all...)
	}
	return found, nil
}

// triggers returns the triggers and the rules of a relation, of the tables that
// inherit from it, and, of a view, of what is written through it.
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
	language, source, definition, arguments string
	configured, deferrable, set             bool
}

// Rows that an UPDATE moves to another partition are deleted and inserted. What makes
// keys is in triggers, too, and none of this.
func readTriggers(ctx context.Context, conn *pgx.Conn, relation uint32) (all []triggerText, err error) {
	rows, err := conn.Query(ctx, `WITH RECURSIVE written AS (
			SELECT $1::oid AS oid
			UNION
			SELECT below.oid FROM written v JOIN (
				SELECT inhparent AS above, inhrelid AS oid FROM pg_inherits
				UNION ALL
				SELECT w.ev_class, d.refobjid FROM pg_rewrite w JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
				WHERE w.ev_type = '1' AND EXISTS (SELECT FROM pg_class c WHERE c.oid = w.ev_class AND c.relkind = 'v')
			) below ON below.above = v.oid
		)
		SELECT g.tgname, rn.nspname, r.relname, lower(n.nspname || '.' || p.proname), l.lanname, p.prosrc,
			CASE WHEN g.tgqual IS NULL THEN '' ELSE pg_get_triggerdef(g.oid) END, encode(g.tgargs, 'escape'),
			p.proconfig IS NOT NULL, g.tgdeferrable, g.tgoldtable IS NOT NULL OR g.tgnewtable IS NOT NULL, g.tgtype & 64 <> 0, g.tgtype & 1 <> 0,
			CASE WHEN g.tgtype & 4 <> 0 THEN 'I' ELSE '' END || CASE WHEN g.tgtype & 8 <> 0 THEN 'D' ELSE '' END || CASE WHEN g.tgtype & 32 <> 0 THEN 'T' ELSE '' END ||
			CASE WHEN g.tgtype & 16 <> 0 OR g.tgtype & 12 <> 0 AND (r.relispartition OR r.relkind = 'p') THEN 'U' ELSE '' END
		FROM written w JOIN pg_trigger g ON g.tgrelid = w.oid JOIN pg_class r ON r.oid = g.tgrelid JOIN pg_namespace rn ON rn.oid = r.relnamespace
		JOIN pg_proc p ON p.oid = g.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
		WHERE NOT (n.nspname = 'pg_catalog' AND (p.proname LIKE 'RI\_FKey\_%' OR p.proname = 'unique_key_recheck'))
		UNION ALL
		SELECT w.rulename, n.nspname, r.relname, '', '', '', pg_get_ruledef(w.oid), '', false, false, false, w.is_instead, true,
			CASE w.ev_type WHEN '2' THEN 'U' WHEN '3' THEN 'I' ELSE 'D' END
		FROM written v JOIN pg_rewrite w ON w.ev_class = v.oid JOIN pg_class r ON r.oid = w.ev_class JOIN pg_namespace n ON n.oid = r.relnamespace
		WHERE w.ev_type <> '1'
		ORDER BY 1`, relation)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (t triggerText, err error) {
		t.trigger = &trigger{}
		err = row.Scan(&t.name, &t.table.Schema, &t.table.Name, &t.function, &t.language, &t.source, &t.definition, &t.arguments, &t.configured, &t.deferrable, &t.set, &t.instead, &t.rows, &t.ways)
		t.rows = t.rows || t.set
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
	if body := t.ownBody(); body != "" {
		t.language, t.source = "plpgsql", body
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

// ownBody is what a trigger function of the server's own does, in PL/pgSQL, as far as
// values go, or "" for others.
func (t *triggerText) ownBody() string {
	args := strings.Split(strings.TrimSuffix(t.arguments, `\000`), `\000`)
	switch from := 2; t.function {
	case "pg_catalog.suppress_redundant_updates_trigger":
		return "BEGIN IF NEW.* IS NOT DISTINCT FROM OLD.* THEN RETURN NULL; END IF; RETURN NEW; END"
	case "pg_catalog.tsvector_update_trigger_column": // its second argument is a column, too
		from = 1
		fallthrough
	case "pg_catalog.tsvector_update_trigger":
		if len(args) < 3 || strings.Contains(t.arguments, `\\`) {
			return ""
		}
		for i, column := range args {
			args[i] = "NEW." + pgx.Identifier{column}.Sanitize()
		}
		return "BEGIN " + args[0] + " := pg_catalog.to_tsvector(pg_catalog.concat(" + strings.Join(args[from:], ", ") + ")); RETURN NEW; END"
	}
	return ""
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

// follows is whether all triggers of what names stand for that run a function, or all
// rules, are followed. If not, it says of one why.
func (s *session) follows(ctx context.Context, names []event.Object, function string) (is bool, why string, err error) {
	where, _ := s.temporaries()
	w := &world{vocabulary: s.vocabulary(), temporary: where, protected: s.ps.Terms().Protected} // whatever the path is
	for _, o := range names {
		found, err := w.triggersOf(ctx, o)
		if _, answered := errors.AsType[*pgconn.PgError](err); answered {
			return false, "Its triggers cannot be read at the moment.", nil
		}
		if err != nil {
			return false, "", err
		}
		for _, t := range found {
			switch {
			case t.function != function:
			case t.unread != "":
				return false, "The " + t.String() + " is not followed: " + t.unread + ".", nil
			default:
				is = true
			}
		}
	}
	return is, "", nil
}

// triggered returns what columns hold once the triggers have run that the statements of
// m fire, as far as they are followed, or why they cannot.
func (m *mover) triggered(ctx context.Context) (all []*Taint, ref *refusal, err error) {
	var contexts []sense
	for _, sub := range m.subjects {
		in := sense{uncertain: true}
		if sub != nil {
			in = sub.sense
			in.facts, in.index, in.held, in.parameters, in.edition = nil, 0, nil, "", "" // the server reads it by itself
		}
		if !slices.Contains(contexts, in) {
			contexts = append(contexts, in)
		}
	}
	v := m.session.vocabulary()
	for i := range m.statements {
		for _, in := range contexts {
			w := &world{vocabulary: v, path: searchPath(in.path), temporary: in.temporary, protected: m.protected}
			found, err := w.fired(ctx, &m.statements[i])
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
