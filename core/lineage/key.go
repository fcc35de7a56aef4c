package lineage

import "slices"

// A place is a column of a table that stands in a query; its item is nil for what
// is none.
type place struct {
	*item
	column int
}

// place returns the column that e names of one of the tables that stand in the query
// itself. Other expressions have none.
func (s *scope) place(e Expr) place {
	r, is := e.(*Ref)
	if !is || r.Star || len(r.Parts) == 0 {
		return place{}
	}
	name, of := r.Parts[len(r.Parts)-1], r.Parts[:len(r.Parts)-1]
	var found *item
	if len(of) > 0 {
		it, in, _ := s.source(qualified(of))
		if in != s {
			return place{}
		}
		found = it
	} else {
		for _, it := range s.items {
			switch {
			case it.joins || len(it.find(name)) == 0:
			case found != nil: // which a join merges
				return place{}
			default:
				found = it
			}
		}
	}
	if found == nil || found.of == nil {
		return place{}
	}
	if i := found.place(name); i >= 0 {
		return place{found, i}
	}
	return place{}
}

// place is the number of the one column of a name; -1 where there is none.
func (it *item) place(name string) int {
	if len(it.find(name)) != 1 {
		return -1
	}
	return slices.IndexFunc(it.columns, func(c column) bool { return c.name == name })
}

// isKey is whether it tells the rows of its table apart.
func (p place) isKey() bool {
	return p.item != nil && p.of.Columns[p.column].Unique && p.of.Columns[p.column].Required
}

// keyed are the tables of which there is a key among places, one that fits.
func keyed(places []place, fits func(*RelationColumn) bool) map[*item]bool {
	all := map[*item]bool{}
	for _, p := range places {
		if p.isKey() && fits(&p.of.Columns[p.column]) {
			all[p.item] = true
		}
	}
	return all
}

// follows is whether p is the same wherever the keys of tables are.
func (p place) follows(keyed map[*item]bool) bool {
	return p.item != nil && keyed[p.item] && !p.isKey()
}

// tells is whether p is a key of the table that q is a column of.
func (p place) tells(q place) bool { return p.isKey() && p.item == q.item }

// places are the columns that targets stand for.
func (s *scope) places(targets []Target) (all []place) {
	for _, t := range targets {
		r, is := t.Expr.(*Ref)
		if !is || !r.Star {
			if starred(t.Expr) { // of a row of which the fields are not looked at
				return nil
			}
			all = append(all, s.place(t.Expr))
			continue
		}
		items := s.items
		if len(r.Parts) > 0 {
			it, _, _ := s.source(qualified(r.Parts))
			items = []*item{it}
		}
		for _, it := range items {
			if it == nil || len(r.Parts) == 0 && !it.byColumn {
				continue
			}
			for i, c := range it.columns {
				switch {
				case c.hidden:
				case it.of != nil && slices.Contains(s.items, it):
					all = append(all, place{it, i})
				default:
					all = append(all, place{})
				}
			}
		}
	}
	return all
}

// counted is whether what a call counts are columns as they are: how many there are
// tells no more of them. Where equal ones count once, they are of a table, so that
// nothing else is counted with them.
func counted(s *scope, c *Call, args []value) bool {
	for i, v := range args {
		if len(v.derived) > 0 {
			return false
		}
		if c.Distinct && len(v.exact) > 0 && s.place(c.Args[i]).item == nil {
			return false
		}
	}
	return len(args) == len(c.Args)
}
