package statement

import (
	"context"
	"os"
	"strings"
	"testing"

	tree "github.com/pganalyze/pg_query_go/v6"

	"gatehouse/core/lineage"
	"gatehouse/core/lineage/lineagetest"
)

const schemaFile = "testdata/lineage.sql"

// A schema is a catalogue made of the statements that make the same one on a
// server.
type schema struct {
	*lineagetest.Catalog
	t         testing.TB
	tables    map[string]*lineage.Relation
	functions map[string]*lineage.Function
}

// shop is the schema that the statements in testdata/lineage.txt are about.
func shop(t testing.TB) *lineagetest.Catalog {
	t.Helper()
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	return schemaOf(t, string(text))
}

func schemaOf(t testing.TB, text string) *lineagetest.Catalog {
	t.Helper()
	parsed, err := shared.parser.parse(context.Background(), text)
	if err != nil {
		t.Fatal(err)
	}
	s := schema{Catalog: lineagetest.New(), t: t, tables: map[string]*lineage.Relation{}, functions: map[string]*lineage.Function{}}
	for _, raw := range parsed.GetStmts() {
		switch m := message(raw.GetStmt()).(type) {
		case *tree.CreateStmt:
			s.table(m)
		case *tree.ViewStmt:
			s.view(m.GetView().GetRelname(), m.GetQuery(), texts(m.GetAliases()))
		case *tree.CreateTableAsStmt:
			s.view(m.GetInto().GetRel().GetRelname(), m.GetQuery(), texts(m.GetInto().GetColNames()))
		case *tree.CreateFunctionStmt:
			s.function(m)
		case *tree.CreatePolicyStmt:
			r := s.tables[m.GetTable().GetRelname()]
			r.Guarded = append(r.Guarded, (&translator{}).expr(m.GetQual()))
		case *tree.DefineStmt:
			s.operator(m)
		default:
			t.Fatalf("%T", m)
		}
	}
	return s.Catalog
}

func (s *schema) table(c *tree.CreateStmt) {
	name := c.GetRelation().GetRelname()
	var columns []string
	var types []lineage.Name
	keys := map[string]bool{}
	generated := map[string]lineage.Expr{}
	for _, n := range c.GetInhRelations() {
		for _, col := range s.tables[n.GetRangeVar().GetRelname()].Columns {
			if !col.Hidden {
				columns, types = append(columns, col.Name), append(types, col.Type)
			}
		}
	}
	for _, n := range c.GetTableElts() {
		d := n.GetColumnDef()
		columns, types = append(columns, d.GetColname()), append(types, typeOf(d.GetTypeName()))
		for _, n := range d.GetConstraints() {
			if n.GetConstraint().GetContype() == tree.ConstrType_CONSTR_PRIMARY {
				keys[d.GetColname()] = true
			}
			if e := n.GetConstraint().GetRawExpr(); e != nil {
				generated[d.GetColname()] = (&translator{}).expr(e)
			}
		}
	}
	r := s.Table("public."+name, columns...)
	for i := range types {
		r.Columns[i].Type, r.Columns[i].Generated = types[i], generated[columns[i]]
		is := keys[columns[i]]
		r.Columns[i].Unique, r.Columns[i].Required, r.Columns[i].Primary = is, is, is
	}
	for _, n := range c.GetInhRelations() {
		above := s.tables[n.GetRangeVar().GetRelname()]
		above.Heirs = append(above.Heirs, r)
	}
	s.tables[name] = r
}

func typeOf(t *tree.TypeName) lineage.Name {
	n := called(t.GetNames())
	if len(t.GetArrayBounds()) > 0 {
		n.Name = "_" + n.Name
	}
	return lineage.Name{Schema: "pg_catalog", Name: n.Name}
}

func (s *schema) view(name string, query *tree.Node, columns []string) {
	q := (&translator{}).statement(message(query))
	r, err := lineage.Analyze(context.Background(), q, s)
	if err != nil || r.Unknown != "" {
		s.t.Fatalf("view %s: %v %v", name, err, r)
	}
	for _, f := range r.Fields[len(columns):] {
		columns = append(columns, f.Name)
	}
	s.View("public."+name, q, columns...)
}

func (s *schema) function(c *tree.CreateFunctionStmt) {
	f := &lineage.Function{Schema: "public", Name: named(c.GetFuncname()).Name, Named: "public." + named(c.GetFuncname()).Name + "()"}
	body, language := "", ""
	for _, n := range c.GetOptions() {
		switch d := n.GetDefElem(); d.GetDefname() {
		case "as":
			body = text(d.GetArg().GetList().GetItems()[0])
		case "language":
			language = text(d.GetArg())
		}
	}
	for _, n := range c.GetParameters() {
		p := n.GetFunctionParameter()
		if p.GetMode() == tree.FunctionParameterMode_FUNC_PARAM_OUT {
			f.Columns = append(f.Columns, p.GetName())
			continue
		}
		f.Names = append(f.Names, p.GetName())
	}
	f.Least = len(f.Names)
	if c.GetReturnType().GetSetof() {
		f.Kind = lineage.Set
	}
	switch {
	case language == "sql":
		f.Body = read(s.t, body)
		if f.Kind == lineage.Opaque {
			f.Kind = lineage.Scalar
		}
	default:
		f.Reason = "it is written in " + language
	}
	s.functions[f.Name] = f
	s.Function(f)
}

func (s *schema) operator(c *tree.DefineStmt) {
	for _, n := range c.GetDefinition() {
		if d := n.GetDefElem(); d.GetDefname() == "function" {
			s.Operator(text(c.GetDefnames()[0]), s.functions[called(d.GetArg().GetTypeName().GetNames()).Name])
		}
	}
}

// goldenStatements returns the statements of testdata/lineage.txt with what is
// said of them.
func goldenStatements(t testing.TB) (blocks [][2]string, comments map[int]string) {
	t.Helper()
	golden, err := os.ReadFile("testdata/lineage.txt")
	if err != nil {
		t.Fatal(err)
	}
	comments = map[int]string{}
	for block := range strings.SplitSeq(strings.TrimSpace(string(golden)), "\n\n") {
		if strings.HasPrefix(block, "#") {
			comments[len(blocks)] += block + "\n\n"
			continue
		}
		sql, want, _ := strings.Cut(block, "\n= ")
		blocks = append(blocks, [2]string{sql, strings.ReplaceAll(want, "\n= ", "\n")})
	}
	return blocks, comments
}
