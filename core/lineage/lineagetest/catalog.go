// Package lineagetest is a catalogue in memory, for tests of lineage without a
// server. What PostgreSQL has of its own it knows by lists of names.
package lineagetest

import (
	"context"
	"strings"

	"gatehouse/core/lineage"
)

// A Catalog is one in memory. Names without a schema are those in public. It is
// made first, and read from then on.
type Catalog struct {
	relations map[lineage.Name][]*lineage.Relation
	functions map[string][]*lineage.Function
	operators map[string][]*lineage.Function
	types     map[string]bool
	casts     map[string][]*lineage.Function
	next      uint64
}

// New returns a catalogue that has what is PostgreSQL's own.
func New() *Catalog {
	c := &Catalog{
		relations: map[lineage.Name][]*lineage.Relation{}, functions: map[string][]*lineage.Function{},
		operators: map[string][]*lineage.Function{}, types: map[string]bool{}, casts: map[string][]*lineage.Function{}, next: 16384,
	}
	own := func(names string, f lineage.Function) {
		for _, name := range strings.Fields(names) {
			g := f
			g.Schema, g.Name = "pg_catalog", name
			c.functions[name] = append(c.functions[name], &g)
		}
	}
	own(scalars, lineage.Function{Kind: lineage.Scalar})
	own(totals, lineage.Function{Kind: lineage.Scalar, Total: true})
	own(parts, lineage.Function{Kind: lineage.Scalar, Total: true, Part: 1})
	own(aggregates, lineage.Function{Kind: lineage.Aggregate, Total: true})
	own("sum", lineage.Function{Kind: lineage.Aggregate, Total: true, Unordered: true})
	own("count", lineage.Function{Kind: lineage.Aggregate, Total: true, Unordered: true, Tallies: true})
	own(windows, lineage.Function{Kind: lineage.Window, Total: true})
	own("rank dense_rank", lineage.Function{Kind: lineage.Window, Total: true, Unordered: true})
	own(sets, lineage.Function{Kind: lineage.Set})
	own("json_each jsonb_each json_each_text jsonb_each_text", lineage.Function{Kind: lineage.Set, Columns: []string{"key", "value"}})
	own("unnest json_populate_record jsonb_populate_record json_populate_recordset", lineage.Function{Kind: lineage.Set, Shaped: true})
	own(ambient, lineage.Function{Kind: lineage.Ambient, Total: true})
	own("random clock_timestamp nextval", lineage.Function{Kind: lineage.Ambient, Volatile: true, Total: true})
	own("set_config pg_notify", lineage.Function{Kind: lineage.Scalar, Volatile: true, Stores: true})
	own("query_to_xml", lineage.Function{Reason: "it runs a statement in its arguments"})
	operator := func(names string, f lineage.Function) {
		for _, name := range strings.Fields(names) {
			g := f
			g.Schema, g.Name, g.Kind, g.Least = "pg_catalog", name, lineage.Scalar, 1
			c.operators[name] = append(c.operators[name], &g)
		}
	}
	operator("= <>", lineage.Function{Compares: lineage.ComparesWhole})
	operator("< > <= >= ~~ !~~ ~~* !~~*", lineage.Function{Compares: lineage.ComparesPart})
	operator("||", lineage.Function{Total: true, Part: lineage.Whole})
	operator("->> -> #> #>>", lineage.Function{Total: true, Part: 1})
	operator("~ !~ ~* !~* @> <@ && ?", lineage.Function{Total: true})
	operator("+ - * / % ^ & | # << >> @@", lineage.Function{})
	for _, t := range strings.Fields("text varchar bpchar name int2 int4 int8 float4 float8 numeric bool date time timetz timestamp timestamptz interval uuid json jsonb xml bytea oid regclass inet record") {
		c.types[t] = true
	}
	return c
}

const (
	scalars = "abs round ceil floor substring substr to_char to_date to_number date_trunc date_part extract ascii chr repeat power mod div regexp_replace age make_date json_build_object jsonb_build_object " +
		"row_to_json to_json to_jsonb int4 similar_to_escape like_escape xpath format timezone array_position jsonb_extract_path_text decode encode convert_to"
	parts      = "upper lower length left right md5 replace reverse"
	totals     = "concat concat_ws btrim ltrim rtrim trim coalesce position strpos split_part overlay quote_literal array_length cardinality"
	aggregates = "avg min max array_agg string_agg json_agg jsonb_agg json_object_agg bool_and bool_or every stddev variance percentile_cont percentile_disc mode xmlagg corr any_value range_agg"
	windows    = "row_number percent_rank cume_dist ntile lag lead first_value last_value nth_value"
	sets       = "generate_series regexp_split_to_table regexp_matches json_array_elements jsonb_array_elements json_array_elements_text jsonb_object_keys string_to_table jsonb_path_query jsonb_to_recordset json_to_record jsonb_to_record generate_subscripts"
	ambient    = "now version current_database current_schema current_setting pg_backend_pid pg_sleep statement_timestamp txid_current"
)

// Table adds a table, "schema.name", with columns, and PostgreSQL's system columns.
func (c *Catalog) Table(name string, columns ...string) *lineage.Relation {
	r := c.relation(name, columns)
	for i, n := range []string{"ctid", "xmin", "cmin", "xmax", "cmax", "tableoid"} {
		r.Columns = append(r.Columns, lineage.RelationColumn{
			Column: lineage.Column{ID: r.ID, Number: -i - 1, Relation: name, Name: n}, Hidden: true,
		})
	}
	return r
}

// View adds a view.
func (c *Catalog) View(name string, definition lineage.Statement, columns ...string) *lineage.Relation {
	r := c.relation(name, columns)
	r.Definition = definition
	return r
}

func (c *Catalog) relation(name string, columns []string) *lineage.Relation {
	schema, table, _ := strings.Cut(name, ".")
	r := &lineage.Relation{ID: c.next, Schema: schema, Name: table}
	c.next++
	for i, n := range columns {
		r.Columns = append(r.Columns, lineage.RelationColumn{Column: lineage.Column{ID: r.ID, Number: i + 1, Relation: name, Name: n}})
	}
	c.relations[lineage.Name{Schema: schema, Name: table}] = append(c.relations[lineage.Name{Schema: schema, Name: table}], r)
	if schema == "public" {
		c.relations[lineage.Name{Name: table}] = append(c.relations[lineage.Name{Name: table}], r)
	}
	return r
}

// Also makes relations stand for a name without a schema beside what it stands for.
func (c *Catalog) Also(name string, r ...*lineage.Relation) {
	c.relations[lineage.Name{Name: name}] = append(c.relations[lineage.Name{Name: name}], r...)
}

// Function adds a function to those of its name.
func (c *Catalog) Function(f *lineage.Function) {
	c.functions[f.Name] = append(c.functions[f.Name], f)
}

// Operator adds an operator, which runs a function, to those of its name.
func (c *Catalog) Operator(name string, f *lineage.Function) {
	c.operators[name] = append(c.operators[name], f)
}

// Castable adds a type, with the functions that casts to it call.
func (c *Catalog) Castable(name string, casts ...*lineage.Function) {
	c.types[name], c.casts[name] = true, casts
}

// Relations returns the relations of a name.
func (c *Catalog) Relations(_ context.Context, name lineage.Name) ([]*lineage.Relation, error) {
	return c.relations[name], nil
}

// Functions returns the functions of a name that can be given as many arguments, of
// which none is known to be of another type than they take.
func (c *Catalog) Functions(_ context.Context, u *lineage.Use) (lineage.Meant, error) {
	return meant(c.functions[u.Name.Name], u), nil
}

// Operators is Functions for operators.
func (c *Catalog) Operators(_ context.Context, u *lineage.Use) (lineage.Meant, error) {
	return meant(c.operators[u.Name.Name], u), nil
}

func meant(all []*lineage.Function, u *lineage.Use) (m lineage.Meant) {
	for _, f := range all {
		takes := (u.Name.Schema == "" || u.Name.Schema == f.Schema) && (len(u.Types) >= f.Least || u.Variadic || u.Within)
		for i, t := range f.Takes {
			takes = takes && (i >= len(u.Types) || u.Types[i] == lineage.Name{} || u.Types[i] == lineage.Literal || u.Types[i] == t)
		}
		if takes {
			m.Functions = append(m.Functions, f)
		}
	}
	return m
}

// Type knows arrays of no type.
func (c *Catalog) Type(_ context.Context, name lineage.Name, many bool) (lineage.Name, error) {
	if many || !c.types[name.Name] {
		return lineage.Name{}, nil
	}
	return lineage.Name{Schema: "pg_catalog", Name: name.Name}, nil
}

// Common is the type that all have.
func (c *Catalog) Common(types []lineage.Name) lineage.Name {
	for _, t := range types {
		if t != types[0] || t == lineage.Literal {
			return lineage.Name{}
		}
	}
	return types[0]
}

// Parameter knows no parameter's type.
func (c *Catalog) Parameter(int) lineage.Name { return lineage.Name{} }

// Condition is bool.
func (c *Catalog) Condition() lineage.Name { return lineage.Name{Schema: "pg_catalog", Name: "bool"} }

// Casts knows PostgreSQL's own types, which call nothing else, and those that were
// added.
func (c *Catalog) Casts(_ context.Context, to lineage.Name) ([]*lineage.Function, bool, error) {
	return c.casts[to.Name], c.types[to.Name], nil
}

// Fields knows no types of rows.
func (c *Catalog) Fields(context.Context, lineage.Name) ([]string, error) { return nil, nil }

// Version is always the same.
func (c *Catalog) Version() uint64 { return 1 }
