package postgres

import (
	"slices"

	"gatehouse/core/lineage"
)

// firstTemporary is where the numbers begin that stand for temporary tables: the
// server's own are below.
const firstTemporary = 1 << 40

// Temporaries are the temporary tables of a session as its statements made them,
// and what protected values were written to them. They do not change: a session
// goes over to others. Nil are none.
type temporaries struct {
	relations []*lineage.Relation
	taints    map[lineage.Column][]string // names of columns whose values a column has got
}

// list returns the tables.
func (t *temporaries) list() []*lineage.Relation {
	if t == nil {
		return nil
	}
	return t.relations
}

// sources returns the names of the columns whose values a column may hold.
func (t *temporaries) sources(c lineage.Column) []string {
	if t == nil {
		return nil
	}
	return slices.Clone(t.taints[c])
}
