package postgres

import (
	"context"
	"slices"
	"strings"

	"gatehouse/core/event"
	"gatehouse/protocols/postgres/statement"
)

// expand returns statements with what they run unseen, below each: the bodies of
// functions, the queries of views, the actions of rules and triggers, defaults
// and checks. A statement is opaque of which that cannot be told.
func (s *session) expand(ctx context.Context, facts *statement.Result, list []event.Statement) ([]event.Statement, error) {
	if s.queue.redefines() {
		// What names stand for is known once the server has answered.
		if err := s.drain(ctx, 0); err != nil {
			return nil, err
		}
	}
	key := expanded{facts, s.path(ctx)}
	known, generation := s.catalog.expanded(key)
	remembers := facts != nil && !facts.Executes() && !facts.Fetches()
	if remembers && known != nil {
		return known, nil
	}
	x, err := s.expandIn(ctx, list, key.path)
	if err == nil && x.moves && x.path != "" {
		x, err = s.expandIn(ctx, list, "") // some of it may look elsewhere
	}
	if err != nil {
		return nil, err
	}
	if x.moves && len(x.list) > len(list) {
		s.settings.move()
	}
	if remembers && !x.unsure && !x.moves {
		s.catalog.remember(key, x.list, generation)
	}
	return x.list, nil
}

func (s *session) expandIn(ctx context.Context, list []event.Statement, path string) (*expansion, error) {
	x := &expansion{session: s, list: list[:len(list):len(list)], seen: map[string]added{}, path: path}
	err := x.run(ctx)
	x.unpin()
	return x, err
}

// An expansion adds to the statements of a request what they run unseen.
type expansion struct {
	*session
	list    []event.Statement
	own     bool // list is a copy
	seen    map[string]added
	effects []effect
	through []string // how the relations that a statement reads are written, too
	path    string   // schemas to look in
	moves   bool     // it changes the path
	unsure  bool     // another time the answer may be another
}

// An effect is what a request does with a statement.
type effect byte

const (
	none  effect = iota
	plans        // EXPLAIN: the server runs some functions even so
	runs         // or defines it, so that it runs later
)

// effectOf returns what the request does with statement i.
func (x *expansion) effectOf(i int) effect {
	st := &x.list[i]
	switch {
	case st.Runs, st.Parent >= i:
		return runs
	case st.Parent < 0, st.Within == "prepare":
		return none
	case st.Within == "explain":
		return min(plans, x.effects[st.Parent])
	}
	return x.effects[st.Parent]
}

func (x *expansion) run(ctx context.Context) error {
	for round, from := 0, 0; from < len(x.list); round++ {
		to := len(x.list)
		asked := make([][]use, to)
		var all []use
		for i := from; i < to; i++ {
			if i >= len(x.through) {
				x.through = append(x.through, "")
			}
			x.effects = append(x.effects, x.effectOf(i))
			if x.effects[i] > none {
				x.moves = x.moves || movesPath(&x.list[i])
				asked[i] = x.usesOf(&x.list[i], x.through[i]+x.makes(i))
				all = append(all, asked[i]...)
			}
		}
		if len(all) == 0 {
			return nil
		}
		answers, err := x.catalog.code(ctx, all)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			x.unsure = true
			x.env.Log.Warn("what a statement runs cannot be looked up", append(x.logAttrs(), "error", err)...)
		}
		for i := from; i < to; i++ {
			if err != nil && len(asked[i]) > 0 || round >= maxCodeRounds {
				x.opaque(i)
				continue
			}
			for _, u := range asked[i] {
				if err := x.take(ctx, i, u, answers[u]); err != nil {
					return err
				}
			}
		}
		from = to
	}
	return nil
}

// makes returns in which ways what statement i reads becomes a part of a table that
// it makes, or that the statement makes which contains it: whoever writes to that
// runs defaults, checks and domains that the gate may not see there.
func (x *expansion) makes(i int) string {
	for within := false; i >= 0; i, within = x.list[i].Parent, true {
		switch st := &x.list[i]; {
		case st.Kind == "CREATE TABLE" && slices.Contains(st.Options, "LIKE") && !within:
			return string(likens)
		case st.Kind == "CREATE TABLE AS", st.Kind == "SELECT INTO":
			return string(copies)
		case st.Parent >= i:
			return ""
		}
	}
	return ""
}

// usesOf returns what a statement uses. What it reads it also writes, in the
// ways that through lists: it is the query of a view that is written.
func (x *expansion) usesOf(st *event.Statement, through string) (uses []use) {
	for _, f := range st.Functions {
		uses = append(uses, use{calls, "", f, x.path})
	}
	for _, f := range st.Fields {
		if name, any := strings.CutPrefix(f, "."); any {
			uses = append(uses, use{takesAny, "", name, x.path})
		} else {
			uses = append(uses, use{takesRow, "", f, x.path})
		}
	}
	for _, o := range st.Operators {
		uses = append(uses, use{applies, "", o, x.path})
	}
	for _, t := range st.Types {
		uses = append(uses, use{names, "", t, x.path})
	}
	if changesDefinitions(st.Kind) {
		uses = append(uses, use{redefine, "", "", x.path})
	}
	relation := func(o event.Object, ways string) {
		if o.Schema == "pg_catalog" || o.Schema == "information_schema" || strings.HasPrefix(o.Schema, "pg_temp") {
			return
		}
		for _, h := range []byte(ways) {
			uses = append(uses, use{how(h), o.Schema, o.Name, x.path})
		}
	}
	if len(st.Required) > 0 && len(st.Writes) == 1 {
		relation(st.Writes[0], string(requires))
	}
	for _, o := range st.Reads {
		relation(o, string(reads)+through)
	}
	if ways := writes(st); ways != "" {
		for _, o := range st.Writes {
			relation(o, ways)
		}
	}
	return uses
}

// changesDefinitions reports whether event triggers may watch a kind of statement.
func changesDefinitions(kind string) bool {
	switch kind {
	case "SELECT INTO", "COMMENT", "GRANT", "REVOKE", "SECURITY LABEL", "IMPORT FOREIGN SCHEMA", "REFRESH MATERIALIZED VIEW", "REINDEX":
		return true
	}
	return strings.HasPrefix(kind, "CREATE ") || strings.HasPrefix(kind, "ALTER ") || strings.HasPrefix(kind, "DROP ")
}

// writes returns in which ways a statement writes to relations.
func writes(st *event.Statement) string {
	var ways string
	add := func(option string, h how) {
		if slices.Contains(st.Options, option) {
			ways += string(h)
		}
	}
	switch st.Kind {
	case "INSERT":
		ways = string(inserts)
		add("ON CONFLICT DO UPDATE", updates)
	case "UPDATE":
		ways = string(updates)
	case "DELETE":
		ways = string(deletes)
	case "MERGE":
		add("INSERT", inserts)
		add("UPDATE", updates)
		add("DELETE", deletes)
	case "COPY":
		add("FROM", inserts)
	case "TRUNCATE TABLE":
		return string(truncates)
	case "REFRESH MATERIALIZED VIEW":
		return string(refreshes)
	}
	if ways != "" {
		ways += string(reads)
	}
	return ways
}

// opaque says of statement i that it cannot be read whole.
func (x *expansion) opaque(i int) {
	x.change()
	x.list[i].Opaque = true
}

// change makes the list one that may be changed.
func (x *expansion) change() {
	if !x.own {
		x.list, x.own = slices.Clone(x.list), true
	}
}

// take adds what statement i runs by a use.
func (x *expansion) take(ctx context.Context, i int, u use, found []code) error {
	if u.how == calls && len(found) == 0 {
		// No function has that name, unless this session alone can see it.
		x.unsure = true
		if status, settled := x.queue.transaction(); !settled || status != 'I' || !isASCII(u.name) {
			x.opaque(i)
		}
	}
	for _, c := range found {
		if u.how == requires {
			filled := strings.Split(c.sql, "\x01")
			if !slices.ContainsFunc(x.list[i].Required, func(column string) bool { return !slices.Contains(filled, column) }) {
				x.change()
				x.list[i].Scope = event.ScopeAll
			}
			continue
		}
		if u.how == takesAny && c.sql == "" { // it is one of the server's own
			x.change()
			x.list[i].Functions = append(slices.Clip(x.list[i].Functions), u.name)
		}
		if c.sql == "" || x.effects[i] == plans && !c.plans || !c.concerns(&x.list[i]) {
			continue
		}
		through := ""
		if u.how == reads {
			through = x.through[i]
			if slices.ContainsFunc(x.list[i].Writes, func(o event.Object) bool { return o.Schema == u.schema && o.Name == u.name }) {
				through = strings.Trim(writes(&x.list[i]), string(reads)+string(refreshes)+string(truncates)) + through
			}
		}
		key := through + "\x00" + c.sql
		if before, seen := x.seen[key]; seen {
			before.again = true
			x.seen[key] = before
			continue
		}
		if len(x.seen) >= maxCodes {
			x.opaque(i)
			continue
		}
		facts, err := x.protocol.config.Analyzer.Analyze(ctx, c.sql)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil || facts.IsEmpty() {
			x.opaque(i)
			continue
		}
		from := len(x.list)
		x.add(i, c.containment(u.how), facts, through)
		x.seen[key] = added{from: from, to: len(x.list)}
	}
	return nil
}

// An added is what a code added to the list, and whether something else runs it
// again.
type added struct {
	from, to int
	again    bool
}

// unpin takes into account that code which several run does not run once.
func (x *expansion) unpin() {
	var repeated []bool
	for _, a := range x.seen {
		if a.again && repeated == nil {
			repeated = make([]bool, len(x.list))
		}
		for i := a.from; a.again && i < a.to; i++ {
			repeated[i] = true
		}
	}
	for i := range repeated {
		st := &x.list[i]
		if repeated[i] = repeated[i] || st.Parent >= 0 && st.Parent < i && repeated[st.Parent]; repeated[i] {
			st.Pinned = nil
		}
	}
}

// add adds below statement i what a code does, which facts describe: that of a
// definition is what it contains.
func (x *expansion) add(i int, within string, facts *statement.Result, through string) {
	body, top := facts.Statements, &facts.Statements[0]
	switch top.Kind {
	case "CREATE FUNCTION", "CREATE PROCEDURE", "CREATE RULE":
		body = facts.Contents(0)
		if top.Opaque {
			x.opaque(i)
		}
		if len(top.Functions) > 0 { // of defaults, and of a rule's condition
			body = append(body, event.Statement{Kind: "SELECT", Parent: -1, Functions: top.Functions})
		}
		if len(top.Settings) > 0 {
			body = append(body, event.Statement{Kind: "SET", Parent: -1, Settings: top.Settings, Options: top.Options})
		}
	}
	if len(body) == 0 {
		body = []event.Statement{{Kind: "SELECT", Parent: -1}} // of nothing: it is there, though
	}
	first := len(x.list)
	for _, st := range body {
		if st.Parent < 0 {
			st.Parent, st.Within = i, within
		} else {
			st.Parent += first
		}
		st.Runs = x.list[i].Runs || x.effects[i] == plans
		x.list, x.own = append(x.list, st), true
		x.through = append(x.through, through)
	}
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= 0x80 })
}

// An expanded is a text and the schemas that its names are looked for in.
type expanded struct {
	facts *statement.Result
	path  string
}

// expanded returns the statements that a text was expanded to, or nil, and how
// often definitions have changed.
func (c *catalog) expanded(key expanded) (list []event.Statement, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh()
	return c.expansions[key], c.changes
}

// remember keeps what a text was expanded to.
func (c *catalog) remember(key expanded, list []event.Statement, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes == generation && len(c.expansions) < maxExpanded {
		c.expansions[key] = list
	}
}
