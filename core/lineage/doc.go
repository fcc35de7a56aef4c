// Package lineage finds out on which columns each field of a result depends, and
// which rows there are, from what a statement says and what a catalogue says of the
// names in it. It knows no language: a protocol's package translates its own parse
// trees to the statements and expressions of this package, and answers what names
// stand for.
//
// It errs on one side only. A dependence that it reports may be none; one that
// there is, it reports, or it calls the field unknown and says why.
//
// # Fields
//
// A field shows columns as they are (Exact), or is computed from columns (Derived),
// or neither. With people(id, name, ssn):
//
//	SELECT ssn AS x FROM people            x shows people.ssn
//	SELECT upper(ssn) FROM people          upper is computed from people.ssn
//	SELECT ssn = 'x', length(ssn) …        so are these
//	SELECT 1, now(), $1 FROM people        these are of no column
//	SELECT a FROM (SELECT ssn AS a …) q    a shows people.ssn: names are followed
//	SELECT name … UNION ALL SELECT ssn …   name shows people.name and people.ssn
//	SELECT p FROM people p                 p is computed from all of its columns
//	SELECT (p).name FROM people p          name shows people.name
//	SELECT … FROM v                        a view's column: that, and what the view shows
//	SELECT count(ssn), max(ssn) …          computed from people.ssn
//	SELECT rank() OVER (ORDER BY ssn) …    computed from people.ssn
//	SELECT doc -> 'a' ->> 'b' FROM files   computed from $.a.b in files.doc
//
// Of a document a place in it counts (Column.Keys), where the text says which it is
// and what is looked into is the column, or a place in it, as it is.
//
// A column that a join merges (USING) shows those of both sides.
//
// # Rows
//
// Which rows there are, how many and in which order depends on columns, too. How,
// decides how much they tell (Dependence):
//
//	WHERE ssn = $1                         compared: a bit for each row
//	WHERE ssn LIKE 'a%', ssn > 'a'         compared, in part: more with each statement
//	WHERE upper(ssn) = 'X'                 compared in part, and matched
//	WHERE ssn ~ '[a-m]', pin % 2 = 1       matched, and counted: any of many values
//	WHERE a.ssn = b.ssn                    matched
//	WHERE upper(a.ssn || b.x) = 'X'        matched, and counted: rows of several sources
//	WHERE a.ssn = g                        the same, where g is a function's, not a column
//	GROUP BY ssn, DISTINCT, UNION          matched
//	GROUP BY upper(ssn), DISTINCT, UNION   compared in part, and matched
//	GROUP BY id, ssn                       not at all, where id is the primary key
//	ORDER BY ssn LIMIT 1                   matched: the first is the lowest
//	FROM generate_series(1, pin)           matched, and counted: as many rows
//	TABLESAMPLE system (pin)               the same
//	ORDER BY ssn                           ordered
//	… UNION ALL … ORDER BY ssn             matched: it sorts among what is known
//	ORDER BY upper(ssn)                    matched: it may put any row first
//	SELECT 1 / (pin - 5), ssn::int         failing: the statement ends, or it does not
//
// A comparison counts as one only where operators are the server's own, the other
// side is the same in each row, and no more is done with the column. The rows that
// an aggregate, a window function or a subquery sees belong to the field: in
//
//	SELECT id, (SELECT count(*) FROM people p WHERE p.ssn = o.note) FROM orders o
//
// count is of no column, but of rows that are matched by people.ssn. An aggregate
// or a window may show what comes first, so that the order of its rows matches. It
// may be what something else in the query gives them:
//
//	SELECT array_agg(id), count(DISTINCT ssn) FROM people
//	SELECT id, row_number() OVER (), rank() OVER (ORDER BY ssn) FROM people
//
// array_agg and row_number are of rows that are matched by people.ssn, unless a key
// stands in an ORDER BY of their own.
//
// # Names
//
// They are resolved as SQL says: columns of the innermost query that has one of the
// name, then rows as a whole; common table expressions before tables; subqueries in
// FROM do not see what stands beside them unless LATERAL; ORDER BY knows results
// before columns, GROUP BY columns before results; f(row) and row.f are the same.
// A recursive query is gone through until nothing more comes in.
//
// Where a name may stand for several relations or functions, what depends on it
// depends on all. A function that hides an aggregate is not one. Functions in the
// query language are followed into their bodies, views into their definitions,
// generated columns and conditions of row security into their expressions.
//
// # Writes
//
// What a statement writes it moves from columns to columns (Flow), and to functions
// that keep what they are given. What is returned of a row that was written, and
// excluded of ON CONFLICT, is what went into it.
//
// # What it does not know
//
// The server's own choices: in which order rows come that nothing sorts. What
// triggers and constraints do with what is written. Casts that no text shows. How
// many fields a function returns of which the catalogue does not say: who has the
// server's own description of a result compares the number of fields.
package lineage
