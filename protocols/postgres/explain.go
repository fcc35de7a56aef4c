package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/core/event"
	"gatehouse/core/protect"
	"gatehouse/protocols/postgres/statement"
)

// An Explanation is what the protection of columns makes of a statement.
type Explanation struct {
	SQL  string
	Kind string
	// Refused is why the gate does not let it pass, if so, and Hint what helps.
	Refused, Hint string
	// Rows is why which rows there are makes every field unknown, if so.
	Rows string
	// Error is what the server says of it instead of describing its result.
	Error  string
	Fields []ExplainedField
}

// An ExplainedField is a field of a result with its treatment.
type ExplainedField struct {
	event.Field
	Treatment event.Treatment
}

// Explain returns what protected makes of the statements of sql in a session of a
// database that has just begun. Nothing is run: the server describes each result,
// by the resource's account.
func (r *Resource) Explain(ctx context.Context, database string, analyzer *statement.Analyzer, protected, all *protect.Columns, sql string) ([]Explanation, error) {
	facts, err := analyzer.Analyze(ctx, sql)
	if err != nil {
		return nil, err
	}
	if r.Tracked != "" && r.taints == nil {
		if r.taints, err = openTaints(r.Tracked); err != nil {
			return nil, err
		}
	}
	u, err := r.dial(ctx, database, nil, nil, func(Address, error) {})
	if err != nil {
		return nil, err
	}
	u.conn.Close()
	c := r.catalogs.of(r, database, u.address)
	defer r.catalogs.close()
	x := explainer{catalog: c, analyzer: analyzer, protected: protected, all: all, facts: facts}
	if x.conn, err = r.connect(ctx, database, u.address); err != nil {
		return nil, err
	}
	defer giveUp(x.conn)
	first, err := newNaming(ctx, x.conn)
	if err == nil {
		_, err = x.conn.Exec(ctx, "SELECT set_config('search_path', $1, false)", first.path)
	}
	if err != nil {
		return nil, fmt.Errorf("explain: %w", err)
	}
	x.path = schemas(first.path, r.User)
	explained := make([]Explanation, facts.Len())
	for i := range explained {
		start, end := facts.Span(sql, i)
		explained[i] = Explanation{SQL: strings.TrimSpace(sql[start:end]), Kind: facts.Statements[facts.Top(i)].Kind}
		if err := x.explain(ctx, &explained[i], i); err != nil {
			return nil, fmt.Errorf("explain: %w", err)
		}
	}
	return explained, nil
}

// An explainer explains the statements of one text.
type explainer struct {
	catalog   *catalog
	conn      *pgx.Conn
	analyzer  *statement.Analyzer
	protected *protect.Columns
	all       *protect.Columns
	facts     *statement.Result
	path      string
}

func (x *explainer) explain(ctx context.Context, e *Explanation, i int) error {
	sub := sense{facts: x.facts, index: i, path: x.path}
	var t *told
	if x.protected != nil {
		var err error
		if t, err = x.catalog.vocabulary(x.analyzer).tell(ctx, sub, x.protected, x.all); err != nil {
			return err
		}
	}
	if x.protected.Strict() {
		e.Refused, e.Hint, e.Rows = t.refusal, t.hint, t.unknown
	}
	if err := x.screen(ctx, e); err != nil {
		return err
	}
	sql, constants := e.SQL, x.facts.Constants(i)
	if c := x.facts.CopyOf(i); c != nil && !c.In && c.Select != "" {
		sql, constants = c.Select, c.Constants
	}
	described, err := x.conn.PgConn().Prepare(ctx, "", sql, nil)
	if err != nil {
		said, is := errors.AsType[*pgconn.PgError](err)
		if !is {
			return err
		}
		e.Error = said.Message
		return nil
	}
	h := &head{}
	columns := make([]column, len(described.Fields))
	for j, d := range described.Fields {
		h.Fields = append(h.Fields, event.Field{Name: d.Name, Type: typeName(d.DataTypeOID)})
		h.oids, columns[j] = append(h.oids, d.DataTypeOID), column{d.TableOID, d.TableAttributeNumber}
	}
	if err := x.catalog.resolve(ctx, columns, h); err != nil {
		return err
	}
	if x.protected != nil {
		r := &reading{protected: x.protected, constants: constants, told: t}
		r.apply(h, columns)
	}
	for j := range h.Fields {
		e.Fields = append(e.Fields, ExplainedField{Field: h.Fields[j], Treatment: x.protected.Field(&h.Fields[j])})
	}
	return nil
}

// screen says where the gate does not let a statement pass for its kind, or for
// the functions that it names.
func (x *explainer) screen(ctx context.Context, e *Explanation) error {
	facts, err := x.analyzer.Analyze(ctx, e.SQL)
	if err != nil {
		return err
	}
	if name := changesReading(facts.Statements); name != "" {
		e.Refused = name + " may not be changed: it alters how statements are read"
	}
	if x.protected == nil {
		return nil
	}
	path := func(context.Context) string { return x.path }
	r, err := screen{x.catalog.vocabulary(x.analyzer), x.protected, false, path}.refuse(ctx, facts)
	if r != nil {
		e.Refused, e.Hint = strings.TrimSuffix(strings.TrimPrefix(r.message, "gatehouse: "), because), r.hint
	}
	return err
}
