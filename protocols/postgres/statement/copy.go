package statement

import (
	"strconv"
	"strings"
	"unicode/utf8"

	tree "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"
)

// A Copy is a COPY whose data comes from the client or goes to it. Unlike the
// facts of package event it holds literals: those of its options.
type Copy struct {
	// In is whether data comes from the client: FROM STDIN.
	In bool
	// Select is a statement whose result has the columns of a COPY TO, for
	// the server to describe. It names things as the text does; a query
	// stands in it at the character where it stands in the text, so that
	// positions in errors are the same. For a whole table it has the
	// generated columns too, which COPY leaves out. It is empty where the
	// query could not be cut out of the text.
	Select string
	// Query is whether rows come from a query, not from a table.
	Query bool
	// Columns are the names of the columns that the text lists, or that its
	// query's list gives them; nil where the text does not tell all of them.
	Columns []string
	// Constants are the fields of its query that are constants, as
	// Result.Constants has them.
	Constants []bool
	// Options are what WITH says, in order, whichever of its forms it has.
	Options []CopyOption
}

// A CopyOption is one option of a COPY. The value of one without a value is
// "true", that of a flag "true" or "false".
type CopyOption struct {
	Name  string // "format", "force_quote"
	Value string
	List  []string // for a list of columns
	All   bool     // for * in the place of a list
}

// CopyOf returns what the i-th top-level statement copies, or nil where it is
// no COPY from or to the client.
func (r *Result) CopyOf(i int) *Copy {
	if i < 0 || i >= len(r.spans) {
		return nil
	}
	return r.spans[i].copy
}

// size is about how many bytes c takes.
func (c *Copy) size() int {
	if c == nil {
		return 0
	}
	n := 128 + len(c.Select) + len(c.Constants)
	for _, name := range c.Columns {
		n += 16 + len(name)
	}
	for _, o := range c.Options {
		n += 72 + len(o.Name) + len(o.Value)
		for _, name := range o.List {
			n += 16 + len(name)
		}
	}
	return n
}

// clientCopy returns what is needed to follow the data of c, a top-level
// statement that begins at start in sql.
func (b *builder) clientCopy(c *tree.CopyStmt, sql string, start int) *Copy {
	out := &Copy{In: c.GetIsFrom(), Columns: texts(c.GetAttlist())}
	for _, n := range c.GetOptions() {
		out.Options = append(out.Options, copyOption(n.GetDefElem()))
	}
	switch {
	case out.In:
	case c.GetQuery() != nil:
		out.Query, out.Columns, out.Constants = true, targetNames(c.GetQuery()), constants(c.GetQuery())
		out.Select = b.cutQuery(c.GetQuery(), sql, start)
	default:
		out.Select = selectOnly(c.GetRelation(), out.Columns)
	}
	return out
}

func copyOption(d *tree.DefElem) CopyOption {
	o := CopyOption{Name: d.GetDefname(), Value: "true"}
	switch v := message(d.GetArg()).(type) {
	case *tree.String:
		o.Value = v.GetSval()
	case *tree.Integer:
		o.Value = strconv.Itoa(int(v.GetIval()))
	case *tree.Float:
		o.Value = v.GetFval()
	case *tree.Boolean:
		o.Value = strconv.FormatBool(v.GetBoolval())
	case *tree.A_Star:
		o.All = true
	case *tree.List:
		o.List = texts(v.GetItems())
	}
	return o
}

// selectOnly returns the SELECT of a table's own rows.
func selectOnly(r *tree.RangeVar, columns []string) string {
	var s strings.Builder
	s.WriteString("SELECT ")
	for i, name := range columns {
		if i > 0 {
			s.WriteString(", ")
		}
		s.WriteString(quoteName(name))
	}
	if len(columns) == 0 {
		s.WriteByte('*')
	}
	s.WriteString(" FROM ONLY ")
	for _, name := range []string{r.GetCatalogname(), r.GetSchemaname()} {
		if name != "" {
			s.WriteString(quoteName(name) + ".")
		}
	}
	s.WriteString(quoteName(r.GetRelname()))
	return s.String()
}

func quoteName(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// cutQuery returns the query in the brackets of the COPY that begins at start in
// sql, behind as many blanks as there are characters before it. What was cut out
// must mean what the parser read, else it returns "".
func (b *builder) cutQuery(query *tree.Node, sql string, start int) string {
	lex := lexer{text: sql, pos: start}
	lex.next() // COPY
	lex.next() // its bracket
	from, to, depth := lex.pos, -1, 1
	for kind := lex.next(); kind != tokenEnd && to < 0; kind = lex.next() {
		switch {
		case kind != tokenOther:
		case lex.token() == "(":
			depth++
		case lex.token() == ")":
			if depth--; depth == 0 {
				to = lex.from
			}
		}
	}
	if to < 0 {
		return ""
	}
	cut := sql[from:to]
	// Locations in the tree count bytes, and those that the server reports
	// characters.
	parsed, ok := b.parse(strings.Repeat(" ", from) + cut)
	if !ok || len(parsed.GetStmts()) != 1 || !proto.Equal(parsed.GetStmts()[0].GetStmt(), query) {
		return ""
	}
	return strings.Repeat(" ", utf8.RuneCountInString(sql[:from])) + cut
}

// targetNames returns the names of a query's columns where the text tells all
// of them.
func targetNames(query *tree.Node) []string {
	var targets []*tree.Node
	switch q := message(query).(type) {
	case *tree.SelectStmt:
		for q.GetLarg() != nil { // the first of a UNION names the columns
			q = q.GetLarg()
		}
		targets = q.GetTargetList()
	case *tree.InsertStmt:
		targets = q.GetReturningList()
	case *tree.UpdateStmt:
		targets = q.GetReturningList()
	case *tree.DeleteStmt:
		targets = q.GetReturningList()
	}
	var names []string
	for _, n := range targets {
		name := n.GetResTarget().GetName()
		if parts := n.GetResTarget().GetVal().GetColumnRef().GetFields(); name == "" && len(parts) > 0 {
			name = parts[len(parts)-1].GetString_().GetSval()
		}
		if name == "" {
			return nil
		}
		names = append(names, name)
	}
	return names
}
