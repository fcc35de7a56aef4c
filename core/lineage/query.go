package lineage

// A Statement is one that reads, writes or both, in the terms of this package.
// Statements are made once and never change; they hold no literals.
type Statement interface{ statement() }

// A Query reads.
type Query struct {
	With With
	Body Body
	// Order are the keys that its rows are sorted by. Those of a Select may be
	// any expressions of it, others are results by name or position.
	Order []Key
	// Limits are the expressions of LIMIT and OFFSET; Limited is whether there
	// are any, constants included.
	Limits  []Expr
	Limited bool
	// Locks is whether its rows are locked, which other statements may see.
	Locks bool
}

// A Body is what a query takes its rows from: *Select, *Combined or *Values.
type Body interface{ body() }

// A Select takes rows from sources.
type Select struct {
	From       []Source
	Where      Expr
	Targets    []Target
	Distinct   bool
	DistinctOn []Key
	// Group are the keys of GROUP BY, those of all grouping sets; Grouped is
	// whether there is such a clause.
	Group   []Key
	Grouped bool
	// Sets is whether there are several grouping sets.
	Sets   bool
	Having Expr
	// Floors are those that Having has.
	Floors  []Floor
	Windows []Windowing
}

// A Combined combines the rows of two queries by position.
type Combined struct {
	Left, Right *Query
	// Distinct is whether equal rows count once.
	Distinct bool
	// Matching is whether rows of one side appear or not for those of the
	// other: INTERSECT, EXCEPT.
	Matching bool
}

// Values are rows of expressions.
type Values struct{ Rows [][]Expr }

func (*Select) body()   {}
func (*Combined) body() {}
func (*Values) body()   {}

// A Target is an expression of a result with the name that it gets. A *Ref or a
// *Member with Star stands for as many as there are.
type Target struct {
	Name string
	Expr Expr
}

// A Key is what rows are sorted, grouped or told apart by: an expression, or the
// result at a position, from 1.
type Key struct {
	Expr     Expr
	Position int
	Using    *Name // the operator that sorts, if it is not the type's own
}

// With are the queries that a statement names for its own use.
type With struct {
	Recursive bool
	Queries   []Common
}

// A Common is a common table expression.
type Common struct {
	Name      string
	Columns   []string // its columns' names, as far as they are given
	Statement Statement
	// Search are the columns that the column Sequence of a recursive one is
	// made of; Cycle those that Mark and Path are made of.
	Search     []string
	Sequence   string
	Cycle      []string
	Mark, Path string
}

// A Source is what stands in FROM: *Table, *Derived, *Join, *Calls, *Document or
// *Unfollowed.
type Source interface{ source() }

// An Alias is the name by which a source is known, and those of its columns as far
// as they are given.
type Alias struct {
	Name    string
	Columns []string
}

// A Table is a relation, a view or a common table expression by its name.
type Table struct {
	Name Name
	Alias
	// Only is whether rows of relations that inherit from it are left out.
	Only bool
	// Sample are the arguments of TABLESAMPLE.
	Sample []Expr
}

// A Derived is a subquery in FROM. A Lateral one sees what stands before it.
type Derived struct {
	Query   Statement
	Lateral bool
	Alias
}

// A Join joins two sources.
type Join struct {
	Left, Right Source
	// Outer is whether rows without a match remain, on either side.
	Outer   Outer
	Natural bool
	Using   []string
	// UsingAlias is a name for the merged columns alone.
	UsingAlias string
	On         Expr
	Alias
}

// Outer says which sides of a join keep rows without a match.
type Outer uint8

const (
	Inner Outer = iota
	LeftOuter
	RightOuter
	FullOuter
)

// Calls are functions in FROM, of which each sees what stands before.
type Calls struct {
	Functions  []SourceCall
	Ordinality bool
	Alias
}

// A SourceCall is a function in FROM with the columns that it is said to return,
// if they are said.
type SourceCall struct {
	Call    Expr // a *Call, or another expression
	Name    string
	Columns []string
}

// A Document is a table made of a document: JSON_TABLE, XMLTABLE. Each column
// depends on the document and on what its own expressions do.
type Document struct {
	Of      []Expr
	Columns []Target
	Alias
}

// Unfollowed is a source that is not followed, with what it has in it.
type Unfollowed struct {
	What  string
	Exprs []Expr
	Alias
}

func (*Table) source()      {}
func (*Derived) source()    {}
func (*Join) source()       {}
func (*Calls) source()      {}
func (*Document) source()   {}
func (*Unfollowed) source() {}

// An Insert writes rows.
type Insert struct {
	With    With
	Into    Table
	Columns []string
	// Source are the rows; nil where they are all defaults, or the client's.
	Source    Statement
	Conflict  *Conflict
	Returning []Target
}

// A Conflict is what an Insert does with rows that there are already.
type Conflict struct {
	Keys      []Expr
	KeysWhere Expr
	Update    bool
	Set       []Assignment
	Where     Expr
}

// An Assignment sets columns of a row. Where there are several columns, Value is
// one row of that many.
type Assignment struct {
	Columns []string
	Value   Expr
	// Part is whether only a part of the column is written: an element, a field.
	Part bool
}

// An Update changes rows.
type Update struct {
	With      With
	Table     Table
	Set       []Assignment
	From      []Source
	Where     Expr
	Returning []Target
}

// A Delete removes rows.
type Delete struct {
	With      With
	Table     Table
	Using     []Source
	Where     Expr
	Returning []Target
}

// A Merge does one of several things with each row.
type Merge struct {
	With      With
	Into      Table
	Using     Source
	On        Expr
	When      []When
	Returning []Target
}

// A When is one of those things. Values are for Columns, or for all in order.
type When struct {
	Condition Expr
	Set       []Assignment
	Columns   []string
	Values    []Expr
}

// A Create makes a relation of what a query returns. Existing is whether the
// relation is there already, and gets new rows.
type Create struct {
	Into    Name
	Columns []string
	Query   Statement
}

// An Each does something with each row that is written to a table, as a trigger does.
type Each struct {
	Table Name
	// Rows are the names that stand for the row within: before, and after.
	Rows []string
	// Constants are names of what is no column's value.
	Constants []string
	// When are conditions, of which some may decide what is done.
	When []Expr
	// Set is what becomes of the row itself, Do what else is done.
	Set []Assignment
	Do  []Statement
}

// An Explain describes how a statement runs, and may run it.
type Explain struct{ Statement Statement }

// An Execute runs a statement with arguments, which are computed first.
type Execute struct {
	Args      []Expr
	Statement Statement
}

// Other is a statement of which only that much is told: what it has in it may
// decide what it returns and does. Returns is whether it returns fields.
type Other struct {
	What    string
	Returns bool
	Exprs   []Expr
	Stores  bool // it keeps what the expressions yield
}

func (*Query) statement()   {}
func (*Insert) statement()  {}
func (*Update) statement()  {}
func (*Delete) statement()  {}
func (*Merge) statement()   {}
func (*Create) statement()  {}
func (*Each) statement()    {}
func (*Explain) statement() {}
func (*Execute) statement() {}
func (*Other) statement()   {}

// An Expr is an expression. A nil Expr is a constant, or a parameter that the
// client gives a value.
type Expr interface{ expr() }

// A Ref names a column, or a row as a whole; with Star all columns of a source, or
// of all sources.
type Ref struct {
	Parts []string
	Star  bool
}

// An Argument is an argument of the function whose body it stands in, from 1, or a
// parameter of the statement. Once is whether it certainly stands there once.
type Argument struct {
	Number int
	Once   bool
}

// A Member is a field of a composite value; with Star all of them.
type Member struct {
	Of   Expr
	Name string
	Star bool
}

// A Record is a row of expressions.
type Record struct{ Fields []Expr }

// A Computed is computed from its arguments by what the language itself has: CASE,
// COALESCE, an array. It fails for no values unless Fails.
type Computed struct {
	What  string
	Args  []Expr
	Fails bool
	// Results is how many of Args, the first, it is one of, or with Many an array
	// of.
	Results int
	Many    bool
	// Extracts is whether it takes something from its first argument, and Places are
	// as in an Operation.
	Extracts Extracts
	Places   [][]string
}

// A Constant is a literal, or what is the same in all rows, of a type. As a type's
// name is written, it may have no schema. An expression that is nil is a constant
// of which the type is not known.
type Constant struct {
	Type Name
	Many bool // it is an array of those
}

// A Logic is AND, OR or NOT.
type Logic struct {
	Args []Expr
	And  bool
}

// A Test tells one thing of a value: IS NULL, IS TRUE.
type Test struct{ Arg Expr }

// An Operation applies an operator. Any is whether the last arguments are several
// values, or with Array the elements of one, of which any or all may match.
type Operation struct {
	Operator   Name
	Args       []Expr
	Any, Array bool
	// Implied is whether the operator has no name in the text: NULLIF, CASE. A
	// definition does not tell its schema then.
	Implied bool
	// First is whether the result is of the type of the first argument, or NULL.
	First bool
	// Places are those in the first argument where the text says that it looks, if
	// it is one that Extracts: the keys on the way to one of them, as in
	// Column.Keys. There are none where the text does not say it.
	Places [][]string
}

// A Call calls a function.
type Call struct {
	Function Name
	Args     []Expr
	// Names are those of arguments that are given by name: empty for others.
	// It is nil where none is.
	Names    []string
	Variadic bool
	Star     bool // count(*)
	Distinct bool // equal arguments of an aggregate count once
	Order    []Expr
	Filter   Expr
	// Within is whether Order are arguments of an ordered-set aggregate.
	Within bool
	Over   *Windowing
	// Given is whether the text says that it returns nothing that was stored
	// before, if the function is one that Recalls.
	Given bool
	// Places are as in an Operation.
	Places [][]string
}

// A Windowing is the rows that a window function sees. It may refer to another.
type Windowing struct {
	Name, Base       string
	Partition, Order []Expr
	Frame            []Expr
	Framed           bool // it says which rows are in its frame
}

// A Cast is to a type, or with Many to an array of it. Text is whether it is to one
// that holds every value's text. Document is whether it is to one of documents, of
// which a document stays what it is.
type Cast struct {
	Arg                  Expr
	To                   Name
	Text, Many, Document bool
}

// A Subquery is a query in an expression.
type Subquery struct {
	Kind     SubqueryKind
	Query    Statement
	Test     Expr // what is compared with the rows, for Any
	Operator Name
}

// A SubqueryKind says what becomes of a subquery's rows.
type SubqueryKind uint8

const (
	One    SubqueryKind = iota // the one row's value
	Exists                     // whether there is one
	Any                        // whether any or all compare so
	Array                      // an array of them
)

// A Not is an expression that is not followed, with what it has in it.
type Not struct {
	What string
	Args []Expr
}

func (*Ref) expr()       {}
func (*Argument) expr()  {}
func (*Member) expr()    {}
func (*Record) expr()    {}
func (*Computed) expr()  {}
func (*Constant) expr()  {}
func (*Logic) expr()     {}
func (*Test) expr()      {}
func (*Operation) expr() {}
func (*Call) expr()      {}
func (*Cast) expr()      {}
func (*Subquery) expr()  {}
func (*Not) expr()       {}
