package lineage

import (
	"context"
	"strings"
)

// A Name is a name as written: schema and name, or the name alone. Dialects fold
// the case of names before they hand them over.
type Name struct{ Schema, Name string }

// A Column is one of a relation. ID and Number are the dialect's identity of the
// relation and of the column in it, such as PostgreSQL's OID and attribute number;
// Relation is "schema.table".
type Column struct {
	ID       uint64
	Number   int
	Relation string
	Name     string
	// place is where in its documents, if it is only there: keys, each with a NUL
	// before it.
	place string
}

// Keys are those on the way to where it is in its documents, from the outermost,
// with event.Element for an array's elements. There are none where it is all of
// them.
func (c Column) Keys() []string {
	if c.place == "" {
		return nil
	}
	return strings.Split(c.place[1:], "\x00")
}

// Whole is the column of which c may be a place in its documents.
func (c Column) Whole() Column {
	c.place = ""
	return c
}

// at is what is at a place in what c is.
func (c Column) at(keys []string) Column {
	for _, k := range keys {
		c.place += "\x00" + k
	}
	return c
}

// String returns "schema.table.column".
func (c Column) String() string { return c.Relation + "." + c.Name }

// A Catalog says what names stand for. It answers for one moment: what it returns
// does not change, and Version tells two such moments apart.
//
// A name may stand for several things where the dialect cannot tell which, since
// it does not know the session's path or the types of arguments. Then it returns
// all of them, and what depends on the name depends on all. It returns none where
// nothing of the name is known, which makes what depends on it unknown.
type Catalog interface {
	Relations(ctx context.Context, name Name) ([]*Relation, error)
	// Functions returns those that a call may mean, Operators those that an
	// expression may.
	Functions(ctx context.Context, u *Use) (Meant, error)
	Operators(ctx context.Context, u *Use) (Meant, error)
	// Type returns the type that a name without a schema stands for, or with many
	// the array of the one that any name does; none where that is not certain.
	Type(ctx context.Context, name Name, many bool) (Name, error)
	// Common returns the type of what is one of several values of types, or an
	// only Literal; none where that is not certain.
	Common(types []Name) Name
	// Parameter returns the type of a parameter of the statement, by its number
	// from 1; none where it is not known.
	Parameter(number int) Name
	// Condition returns the type of what conditions yield.
	Condition() Name
	// Casts returns the functions that a cast to a type may call; none, with
	// known, where it calls none but the server's own.
	Casts(ctx context.Context, to Name) (functions []*Function, known bool, err error)
	// Fields returns the fields of a type of rows; none of another, and where
	// the name may stand for types that differ in them.
	Fields(ctx context.Context, of Name) ([]string, error)
	Version() uint64
}

// A Use is how functions or operators of a name are used.
type Use struct {
	Name Name
	// Types are those of the arguments, none for those that are not known.
	Types []Name
	// Names are those of arguments that are given by name, as in a Call.
	Names    []string
	Variadic bool
	Within   bool // there are further arguments in WITHIN GROUP
	Array    bool // of the last argument, each element is what an operator takes
	// Stored is whether the text is a definition's, which means what there was
	// when it was made.
	Stored bool
}

// A Meant is what a use may mean, and the type of what it yields, if that is known.
type Meant struct {
	Functions []*Function
	Returns   Name
}

// Literal is the type of a literal to which nothing has given one.
var Literal = Name{Name: "?"}

// A Compares says what an operator tells of a column that it compares with a
// constant.
type Compares uint8

const (
	ComparesNot   Compares = iota // it is no comparison, or of many values at once
	ComparesWhole                 // whether it has one value: =, <>
	ComparesPart                  // more than that: a range, a pattern
)

// Whole is the Part of functions that put their arguments together.
const Whole = -1

// An Extracts says whether a function takes what it returns from places in its first
// argument, a document, which the text may say (Places).
type Extracts uint8

const (
	ExtractsNot      Extracts = iota
	ExtractsDocument          // it is what is there, as it is, and a document again
	ExtractsValue             // it is computed from what is there
)

// A Relation is what can stand in FROM by its name.
type Relation struct {
	ID           uint64
	Schema, Name string
	Columns      []RelationColumn
	// Definition is what a view stands for. Its columns are those of Columns
	// in order.
	Definition Statement
	// Guarded are conditions that the server adds to each use of it, such as
	// row security: which rows there are depends on them.
	Guarded []Expr
	// Home is the schema of functions and operators without one in its
	// definition, its conditions, and what its columns are generated from.
	Home string
	// Opaque is why its columns come from nobody knows where, if they do: a
	// foreign table, a table that is not committed yet. It is a reason for
	// people.
	Opaque string
	// Rewritten is why writing to it may write elsewhere, if it may: a rule, a
	// trigger in the place of the write. It is a reason for people.
	Rewritten string
	// Heirs are relations whose rows it has too: partitions, inheritance.
	// Columns correspond by name.
	Heirs []*Relation
}

// A RelationColumn is a column of a relation.
type RelationColumn struct {
	Column
	// Type is of what type it is, where that is known; for a Domain the type
	// that it is made of.
	Type, Domain Name
	// Fields are those of its values, where they are rows.
	Fields []string
	// Document is whether they are documents of JSON.
	Document bool
	// Hidden columns are not of what * stands for: ctid, xmin.
	Hidden bool
	// Generated is what the column is computed from, if it is.
	Generated Expr
	// Unique is whether no two rows have the same value, Required whether each
	// has one, and Primary whether it is the primary key.
	Unique, Required, Primary bool
}

// A Kind says how a function makes its result.
type Kind uint8

// The zero Kind is the one of which nothing is known.
const (
	// Opaque functions may return anything that the database holds.
	Opaque Kind = iota
	// Scalar functions return what depends on their arguments alone.
	Scalar
	// Aggregate functions return what depends on the rows that they are
	// given: on their arguments in each, and on which rows there are.
	Aggregate
	// Window functions depend on the rows of their window, and on its order.
	Window
	// Set functions return rows: how many and which depends on their
	// arguments.
	Set
	// Ambient functions return facts of the session or the clock, which
	// depend on no column: now(), current_user, random().
	Ambient
)

// A Function is what a call by name, an operator or a cast may run.
type Function struct {
	ID           uint64
	Schema, Name string
	Kind         Kind
	// Least is how many arguments it takes at least.
	Least int
	// Body is what a function in the query language returns, where it can be
	// read. Parameters in it are its arguments.
	Body Statement
	// Home is the schema of functions and operators without one in Body, if it
	// was read when it was made, and DefaultsHome of those in Defaults.
	Home, DefaultsHome string
	// Stores is whether it keeps what it is given where another statement may
	// find it: set_config, pg_notify, nextval's kin, lo_put.
	Stores bool
	// Named is how policy names it: "schema.function()".
	Named string
	// Columns are the names of the columns of what it returns, where it
	// returns a row.
	Columns []string
	// Compares is what it tells as an operator, if it is the server's own. It
	// fails for no values then.
	Compares Compares
	// Total is whether it fails for no values.
	Total bool
	// Part is which of its arguments it returns in another form, or a part of, so
	// that it is not the same for values that are chosen at will: the number of
	// one, counted from 1, where the others are constants; Whole for all of them
	// one behind the other; 0 if it does something else.
	Part int
	// Extracts is whether it takes what it returns from places in a document.
	Extracts Extracts
	// Counts is whether only how many values it is given decides what it
	// returns, and policy lets that pass: of columns as they are it depends on
	// the rows alone then.
	Counts bool
	// Tallies is whether it returns how many values it is given that are not
	// NULL. Sums is over how many rows of a table a sum shows none of them; 0
	// where it is no sum, or policy lets none pass.
	Tallies bool
	Sums    int
	// Many is whether it returns rows, whatever else is known of it.
	Many bool
	// Volatile is whether it may return another value in each row for the
	// same arguments.
	Volatile bool
	// Unordered is whether it returns the same in whichever order rows come to it, if
	// it is one of several rows: for a window, with the frame that one has.
	Unordered bool
	// Names are those of its arguments, as far as it has them.
	Names []string
	// Defaults are what its last arguments are where a call does not give them.
	Defaults []Expr
	// Takes are the types of its arguments, as far as they are known: what Body
	// has.
	Takes []Name
	// Recalls is whether Body is what was stored, which a call that is Given
	// does not return: that depends on its arguments alone.
	Recalls bool
	// Shaped is whether its result may be a row, with the columns of what it is
	// given: unnest, json_populate_record.
	Shaped bool
	// Reason is why it is opaque, for people.
	Reason string
}

// A Result is what a statement returns and does, in terms of columns.
type Result struct {
	// Fields are those of the result; nil where the statement returns none,
	// or where Unknown says why they cannot be told.
	Fields []Field
	// Rows is on what it depends which rows there are, how many, and in which
	// order.
	Rows Dependence
	// Compared are all comparisons with constants in the statement, wherever they
	// stand, each once.
	Compared []Comparison
	// Summed are columns of which only sums over enough rows of their table come
	// in, so that what is made of those does not depend on them.
	Summed []Column
	// Flows are the columns that the statement writes, with what their values
	// then depend on.
	Flows []Flow
	// Unknown is why nothing is known of the fields, if so.
	Unknown string
	// Version is the catalogue's.
	Version uint64
}

// A Field is one of a result.
type Field struct {
	Name string
	// Exact are the columns that the field shows as they are. There are several
	// where the column is a view's: that and what the view takes it from; where
	// a name may stand for several relations, where a join merges columns, and
	// where branches of a set operation have different ones.
	Exact []Column
	// Derived are those that the value is computed from.
	Derived []Column
	// Rows is on what the value depends as to which rows it was computed from:
	// that of an aggregate, a window function, a subquery. The rows of the
	// result itself are the Result's.
	Rows Dependence
	// Reason says, for people, which expression is not known and why. It is
	// empty where the lineage is known.
	Reason string
	// Why says, for people, what a sum lacks for not being one of enough rows, if
	// the field has one.
	Why string
}

// A Dependence is on what it depends which rows there are.
type Dependence struct {
	// Compared are columns that conditions compare with constants or
	// parameters, each comparison by itself: what they tell in one statement
	// is a bit for each row and comparison.
	Compared []Comparison
	// Matched are columns that decide otherwise: compared with other columns,
	// computed, sorted or grouped by, counted.
	Matched []Column
	// Counted are those of Matched that may decide about any number of rows, so
	// that the number tells more than whether something is equal: limits, the
	// arguments of functions that return sets, what is compared by range or
	// pattern with what is no constant, what conditions of other kinds than
	// comparisons make of it.
	Counted []Column
	// Ordered are columns that decide the order only.
	Ordered []Column
	// Failing are columns on which it depends whether the statement fails:
	// they are computed with by what may fail, such as a division or a cast.
	Failing []Column
	// Reason says why what decides is unknown, if it is.
	Reason string
}

// A Comparison is a condition of one column with constants.
type Comparison struct {
	Column Column
	// Whole is whether only equality with whole values is asked for, not a
	// range or a pattern.
	Whole bool
	// Times is how many such comparisons there are.
	Times int
}

// A Flow says what a written column's values depend on.
type Flow struct {
	To Column
	// By is the function that keeps what it is given, as policy names it, if it
	// is one. To is none then.
	By string
	// Exact and Derived are as in a Field.
	Exact, Derived []Column
	// Rows is on what it depends which rows are written.
	Rows   Dependence
	Reason string
}
