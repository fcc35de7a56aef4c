package postgres

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/event"
	"gatehouse/protocols/postgres/statement"
)

// A use is what a statement does with something of the database that may run
// code.
type use struct {
	how          how
	schema, name string // functions have all of their name in name, in lower case
	path         string // schemas to look in where there is no other, as an array; "" for all
}

// How something is used.
type how byte

const (
	calls     how = 'f' // a function
	takesRow  how = 'x' // a function, if it takes a row, or else a column
	takesAny  how = 'y' // a function, if it takes one argument, or else a field
	applies   how = 'o' // an operator
	names     how = 't' // a type
	reads     how = 'r' // a relation
	refreshes how = 'm' // a materialized view
	inserts   how = 'I'
	updates   how = 'U'
	deletes   how = 'D'
	truncates how = 'T'
	redefine  how = 'd' // definitions, which event triggers watch
	// It is not used, but asked for its keys: columns with \x01 between.
	identifies how = 'k'
	// It is not used, but asked for its columns that may not be null, alike.
	requires how = 'n'
)

// A code is something of the database that runs when it is used, as a statement
// that the analyzer reads. There is one without a text for each function that
// exists.
type code struct {
	sql   string
	plans bool // it may run when a statement is only planned
	// within is how the statement contains it: a trigger, or a foreign key's
	// cascade. Elsewhere the use tells.
	within string
	// symbol is an operator that the statement has to apply, and columns are
	// some, with \x01 between, of which it has to name one.
	symbol, columns string
}

// Limits of what is looked at for one request, and of what is remembered.
const (
	maxCodeRounds = 10  // of code that uses code
	maxCodes      = 500 // in all of them
	maxUses       = 2000
	maxAnswered   = 20_000
	maxExpanded   = 5000
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

// path returns the schemas in which the server looks for names that have none,
// as an array. It is empty, for all schemas, where the gate does not know.
func (s *session) path(ctx context.Context) string {
	_, settled := s.queue.transaction()
	path, known := s.settings.searched(settled)
	if known && path == "" {
		path = s.catalog.firstPath(ctx)
	}
	if !known {
		return ""
	}
	if path != s.searches.path {
		s.searches.path, s.searches.schemas = path, schemas(path, s.resource.User)
	}
	return s.searches.schemas
}

// schemas turns a search_path into an array of text, or "" if it is none.
func schemas(path, user string) string {
	array := []string{`"pg_catalog"`}
	for path = strings.TrimSpace(path); path != ""; {
		var name string
		if path[0] == '"' {
			end := 1
			for ; end < len(path) && (path[end] != '"' || strings.HasPrefix(path[end:], `""`)); end++ {
				if path[end] == '"' {
					end++
				}
			}
			if end >= len(path) {
				return ""
			}
			name, path = strings.ReplaceAll(path[1:end], `""`, `"`), path[end+1:]
		} else {
			end := strings.IndexByte(path+",", ',')
			name, path = strings.ToLower(strings.TrimSpace(path[:end])), path[end:]
		}
		if name == "$user" {
			name = user
		}
		array = append(array, `"`+strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name)+`"`)
		if path = strings.TrimSpace(path); path != "" && path[0] != ',' {
			return ""
		} else if path != "" {
			path = strings.TrimSpace(path[1:])
		}
	}
	return "{" + strings.Join(array, ",") + "}"
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
				asked[i] = x.usesOf(&x.list[i], x.through[i])
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

// containment says how a statement contains code.
func (c *code) containment(h how) string {
	switch {
	case c.within != "":
		return c.within
	case c.symbol+c.columns != "":
		return "function"
	}
	switch h {
	case reads, refreshes:
		return "view"
	case inserts, updates, deletes:
		return "rule"
	}
	return "function"
}

// concerns reports whether st, which uses something that may run c, does.
func (c *code) concerns(st *event.Statement) bool {
	if c.symbol != "" && !slices.Contains(st.Symbols, c.symbol) {
		return false
	}
	named := st.Columns
	switch {
	case c.columns == "":
		return true
	case c.within == "cascade":
		if st.Kind == "SELECT" { // of a view through which the table is written
			return true
		}
		named = st.Sets
	case st.Kind == "INSERT", st.Kind == "MERGE", st.Kind == "COPY":
		return true // those may write columns that they do not name
	}
	for name := range strings.SplitSeq(c.columns, "\x01") {
		if slices.ContainsFunc(named, func(n string) bool { return isNamed(n, name) || isNamed(n, "*") }) {
			return true
		}
	}
	return false
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

// newNaming returns what a session begins with that begins now, as far as it can
// be told: ALTER ROLE and ALTER DATABASE may have changed it.
func (c *catalog) newNaming(ctx context.Context) naming {
	c.mu.Lock()
	first, fresh := c.first, time.Since(c.firstSince) < CatalogAge
	c.mu.Unlock()
	if first.path != "" && fresh {
		return first
	}
	ctx, cancel := context.WithTimeout(ctx, catalogTimeout)
	defer cancel()
	conn, err := c.resource.newest(c.address).connect(ctx, c.database, c.address)
	if err != nil {
		return first
	}
	defer giveUp(conn)
	now, err := newNaming(ctx, conn)
	if err != nil {
		return first
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.first, c.firstSince = now, time.Now()
	return now
}

// firstPath returns the search path that sessions begin with, or "".
func (c *catalog) firstPath(ctx context.Context) string {
	c.mu.Lock()
	path := c.first.path
	c.mu.Unlock()
	if path == "" {
		_ = c.ask(ctx, func(context.Context, *pgx.Conn) error { return nil }) // then it is not known
		c.mu.Lock()
		path = c.first.path
		c.mu.Unlock()
	}
	return path
}

// code returns what uses run. It asks the server for what it does not remember.
func (c *catalog) code(ctx context.Context, uses []use) (map[use][]code, error) {
	answers := make(map[use][]code, len(uses))
	var asked []use
	c.mu.Lock()
	c.fresh()
	generation := c.changes
	for _, u := range uses {
		if _, twice := answers[u]; twice {
			continue
		}
		found, known := c.codes[u]
		if answers[u] = found; !known {
			asked = append(asked, u)
		}
	}
	c.mu.Unlock()
	if len(asked) == 0 {
		return answers, nil
	}
	if len(asked) > maxUses {
		return nil, errTooManyUses
	}
	err := c.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error { return askCode(ctx, conn, asked, answers) })
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes != generation || len(c.codes) > maxAnswered {
		return answers, nil
	}
	for _, u := range asked {
		c.codes[u] = answers[u]
	}
	return answers, nil
}

func askCode(ctx context.Context, conn *pgx.Conn, asked []use, answers map[use][]code) error {
	hows, schemas, names, paths := make([]string, len(asked)), make([]string, len(asked)), make([]string, len(asked)), make([]string, len(asked))
	for i, u := range asked {
		hows[i], schemas[i], names[i], paths[i] = string(u.how), u.schema, u.name, u.path
		answers[u] = nil
	}
	rows, err := conn.Query(ctx, codeQuery, hows, schemas, names, paths)
	if err != nil {
		return err
	}
	var h string
	var u use
	var found code
	_, err = pgx.ForEachRow(rows, []any{&h, &u.schema, &u.name, &u.path, &found.sql, &found.plans, &found.within, &found.symbol, &found.columns}, func() error {
		u.how = how(h[0])
		answers[u] = append(answers[u], found)
		return nil
	})
	return err
}
