package postgres

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"

	"gatehouse/core/event"
	"gatehouse/core/protect"
	"gatehouse/protocols/postgres/statement"
)

// Where columns of the resource are protected, what is judged, recorded and shown
// of a request is masked, whoever sends it: constants and parameters that are, or
// may be, values of such a column, and all comments. The server gets it as it was
// sent.

// mask masks req, whose text facts are of; they are nil where it was not read. A
// request that is masked already is masked anew. Of the parameters that cut gives
// whole, those that are masked become secret.
func (s *session) mask(ctx context.Context, req *event.Request, facts *statement.Result, cut ...event.Parameter) {
	protected := s.ps.Terms().AllProtected
	if sent := req.Sent; sent != nil {
		req.Payload, req.Params, req.Sent, req.Masked = sent.Payload, sent.Params, nil, nil
	}
	defer s.hide(ctx, req)
	if protected == nil {
		return
	}
	req.Sent = &event.Sent{Payload: req.Payload, Params: req.Params}
	m := masking{s: s, ctx: ctx, protected: protected, req: req, facts: facts}
	if len(req.Payload) > 0 {
		req.Payload = s.shownTexts.of(&m, req)
	}
	if !m.areBare(req.Params) {
		req.Params = m.params(req.Params, cut)
	}
	req.Masked = m.masked
}

// hide masks what detectors find in the constants of req's text only once their
// escapes are read, or they are put together. What is found in the text as it stands
// is masked where the request is judged.
func (s *session) hide(ctx context.Context, req *event.Request) {
	if !statement.Disguises(req.Payload) {
		return
	}
	h, err := s.ps.Hides(ctx)
	if err != nil || h == nil { // without detectors, the request is blocked
		return
	}
	shown, found := statement.Hide(make([]byte, 0, len(req.Payload)), string(req.Payload), func(value string) bool { return h.Finds([]byte(value)) })
	if !found {
		return
	}
	if req.Sent == nil {
		req.Sent = &event.Sent{Payload: req.Payload, Params: req.Params}
	}
	if req.Payload = shown; len(req.Masked) > 0 {
		req.Masked = append(req.Masked, anyColumn)
	}
}

// Shown texts are what is known of how texts may be shown: whether they have
// anything to mask, and of prepared statements how they were masked, so that they are
// not masked anew whenever one is prepared again, or bound.
type shownTexts struct {
	renewals, changes uint64 // of the policy and of the catalogue, when they were looked at
	texts             map[*statement.Result]shownText
}

type shownText struct {
	statements *event.Statement // the first: a search path may make others of the text
	bare       bool             // no constant and no parameter is masked, whatever its value is
	sql, shown []byte           // nil before one was masked
	masked     []string
}

// Limits of the texts that a session keeps.
const (
	maxShownTexts = 64
	maxShownText  = 16 << 10
)

// of returns the text of req, which m masks.
func (t *shownTexts) of(m *masking, req *event.Request) []byte {
	sql := req.Payload
	if m.facts == nil || len(req.Statements) == 0 || len(sql) > maxShownText {
		return m.text(sql)
	}
	renewals, changes := m.s.renewals, m.s.catalog.changed()
	if t.texts == nil || t.renewals != renewals || t.changes != changes || len(t.texts) >= maxShownTexts {
		*t = shownTexts{renewals, changes, map[*statement.Result]shownText{}}
	}
	known, is := t.texts[m.facts]
	if !is || known.statements != &req.Statements[0] {
		known = shownText{statements: &req.Statements[0], bare: m.facts.EachValue(m.isBare)}
		t.texts[m.facts] = known
	}
	if m.bare = known.bare; m.bare && !statement.HasComment(sql) {
		return sql
	}
	// Texts that differ in their constants may have the same facts.
	if bytes.Equal(known.sql, sql) {
		m.masked = slices.Clone(known.masked)
		return known.shown
	}
	shown := m.text(sql)
	if req.Operation == "prepare" || req.Operation == "execute" {
		known.sql, known.shown, known.masked = sql, shown, slices.Clone(m.masked)
		t.texts[m.facts] = known
	}
	return shown
}

// A masking masks one request.
type masking struct {
	s         *session
	ctx       context.Context
	protected *protect.Columns
	req       *event.Request
	facts     *statement.Result
	bare      bool // as in shownText
	masked    []string
}

// maxMasked is how many columns of what is masked are named one by one.
const maxMasked = 32

// anyColumn stands for what is masked without being known to be of a column.
const anyColumn = "*"

// note notes that values of a column are masked.
func (m *masking) note(column string) {
	switch {
	case slices.Contains(m.masked, column):
	case len(m.masked) < maxMasked:
		m.masked = append(m.masked, column)
	case len(m.masked) == maxMasked:
		m.masked = append(m.masked, anyColumn)
	}
}

// text returns the request's text as it may be shown.
func (m *masking) text(sql []byte) []byte {
	if m.facts != nil {
		shown, ok := m.facts.Mask(make([]byte, 0, len(sql)+64), string(sql), m.constant)
		if ok {
			return shown
		}
	}
	// Words may be values, too, where it is not certain what is quoted.
	m.note(anyColumn)
	shown := fmt.Appendf(nil, "[redacted: %d bytes that were not read, digest ", len(sql))
	return append(m.s.ps.AppendDigest(shown, sql), ']')
}

// constant appends a constant of the text as it may be shown.
func (m *masking) constant(b []byte, constant string, v *statement.Value) []byte {
	t, masks := m.treatment(v, constant)
	if !masks {
		return append(b, constant...)
	}
	value, certain := statement.ConstantValue(constant)
	if !certain {
		t.Kind = event.Redact
	}
	b = m.s.ps.AppendMasked(append(b, '\''), t, []byte(value))
	return append(b, '\'')
}

// params returns the values of parameters as they may be shown.
func (m *masking) params(values [][]byte, cut []event.Parameter) [][]byte {
	shown := slices.Clone(values)
	for i, v := range values {
		if v == nil {
			continue
		}
		t, masks := event.Treatment{Kind: event.Redact}, true
		if m.facts != nil {
			told := m.facts.Param(i + 1)
			t, masks = m.treatment(&told, string(v))
		} else {
			m.note(anyColumn)
		}
		if !masks {
			continue
		}
		if m.req.CutSize(i) > 0 {
			t.Kind = event.Redact
		}
		for j := range cut {
			if cut[j].Param == i {
				cut[j].Secret, t.Kind = true, event.Redact
			}
		}
		shown[i] = m.s.ps.AppendMasked(nil, t, v)
	}
	return shown
}

// treatment returns how a value of which v is told is treated, and whether it is
// masked at all.
func (m *masking) treatment(v *statement.Value, value string) (event.Treatment, bool) {
	strictest, masks := event.Treatment{Kind: event.Pass}, false
	take := func(pattern string) bool {
		t, is := m.protected.Overlap(pattern)
		if is {
			m.note(pattern)
			masks = true
			if t.Compare(strictest) < 0 {
				strictest = t
			}
		}
		return is
	}
	certain := m.meets(v.Columns, take) && v.Known
	if v.Flows {
		m.touched(take)
	}
	if !v.Known && !masks {
		// A text may hold a statement.
		statement.Names(value, func(name string) bool {
			return !take("*.*."+cmp.Or(name, "*")) && !take("*."+cmp.Or(name, "*")+".*")
		})
	}
	if m.protected.Strict() && !certain {
		m.note(anyColumn)
		return event.Treatment{Kind: event.Redact}, true
	}
	return strictest, masks
}

// areBare is whether no value of parameters is masked.
func (m *masking) areBare(values [][]byte) bool {
	for i := range values {
		if !m.bare || !m.facts.Param(i+1).Known { // the text need not name all
			return false
		}
	}
	return true
}

// isBare is whether a value of which v is told is not masked, whatever it is.
func (m *masking) isBare(v *statement.Value) bool {
	return v.Known && !v.Flows && !slices.ContainsFunc(v.Columns, func(c statement.Column) bool {
		met := m.s.vocabulary().meet(m.ctx, c, m.protected)
		return !met.found || len(met.patterns) > 0 || m.protected.Strict() && !met.certain
	})
}

// meets takes what columns may be. It reports whether that is certain: columns of
// tables, which hold what is written to them.
func (m *masking) meets(columns []statement.Column, take func(pattern string) bool) bool {
	certain := true
	var absent, found []statement.Column
	for _, c := range columns {
		met := m.s.vocabulary().meet(m.ctx, c, m.protected)
		certain = certain && met.certain
		for _, pattern := range met.patterns {
			take(pattern)
		}
		switch {
		case met.found:
			found = append(found, c)
		case met.absent:
			absent = append(absent, c)
		}
	}
	// A name without a relation stands for a column of each in the query: one
	// of them must have it.
	for _, c := range absent {
		if !slices.ContainsFunc(found, func(f statement.Column) bool { return f.Name == c.Name }) {
			certain = false
			take(orAny(c.Schema) + "." + c.Relation + "." + c.Name)
		}
	}
	return certain
}

// A meeting is what a column that a text names may be.
type meeting struct {
	patterns []string // of columns, some of them protected
	certain  bool     // it is no other
	found    bool     // it is a column that there is, or none that is protected
	absent   bool     // there are such relations, and none has it
}

// A meetingOf is a column under what is protected.
type meetingOf struct {
	column   statement.Column
	identity string
}

// Limits of the columns that are kept met: how many, and how long all of one's name
// is, since a text may name anything.
const (
	maxMeetings = 4096
	maxMet      = 3 * 64
)

// meet returns what c may be.
func (v *vocabulary) meet(ctx context.Context, c statement.Column, protected *protect.Columns) meeting {
	key := meetingOf{c, protected.Identity()}
	v.mu.Lock()
	m, known := v.meetings[key]
	v.mu.Unlock()
	if known {
		return m
	}
	m, lasts := v.meeting(ctx, c, protected)
	if lasts && len(c.Schema)+len(c.Relation)+len(c.Name) < maxMet {
		v.mu.Lock()
		defer v.mu.Unlock()
		if len(v.meetings) < maxMeetings {
			v.meetings[key] = m
		}
	}
	return m
}

// meeting finds out what c may be. It lasts unless the relation was not found.
func (v *vocabulary) meeting(ctx context.Context, c statement.Column, protected *protect.Columns) (m meeting, lasts bool) {
	m.certain = true
	take := func(pattern string) bool {
		_, is := protected.Overlap(pattern)
		if is {
			m.patterns = append(m.patterns, pattern)
		}
		return is
	}
	pattern := orAny(c.Schema) + "." + orAny(c.Relation) + "." + orAny(c.Name)
	if _, may := protected.Overlap(pattern); !may && !protected.Strict() {
		m.found = true // it has another name, which is all that counts
		return m, true
	}
	var tables []table
	if c.Relation != "" {
		tables = v.catalog.tablesNamed(ctx, c.Schema, c.Relation)
	}
	for i := range tables {
		if name, has := tables[i].means(c); has {
			m.found, m.certain = true, m.certain && tables[i].stored
			take(tables[i].schema + "." + c.Relation + "." + name)
			for _, from := range tables[i].from(name) {
				take(from)
			}
		}
	}
	switch {
	case m.found:
	case len(tables) > 0 && c.Name != "":
		m.absent = true
	default:
		m.certain = false
		take(pattern)
	}
	return m, len(tables) > 0 || c.Relation == ""
}

// means returns which of t's columns c is, "*" for any, and whether it has it.
func (t *table) means(c statement.Column) (name string, has bool) {
	switch {
	case c.Name != "":
		return c.Name, slices.ContainsFunc(t.columns, func(own tableColumn) bool { return own.name == c.Name }) || slices.Contains(systemColumns, c.Name)
	case c.Position == 0:
		return "*", true
	case c.Position <= len(t.columns):
		return t.columns[c.Position-1].name, true
	}
	return "", false
}

// systemColumns are those that every table has.
var systemColumns = []string{"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"}

func orAny(name string) string { return cmp.Or(name, "*") }

// touched takes the columns of what the request's statements name, any where
// that cannot be told.
func (m *masking) touched(take func(pattern string) bool) {
	if len(m.req.Statements) == 0 {
		take(anyColumn)
	}
	for i := range m.req.Statements {
		st := &m.req.Statements[i]
		if st.Opaque {
			take(anyColumn)
		}
		for _, list := range [][]event.Object{st.Writes, st.Reads} {
			for _, o := range list {
				take(orAny(o.Schema) + "." + o.Name + ".*")
			}
		}
		for _, name := range st.Columns {
			take(name)
			take("*." + name)
		}
	}
}
