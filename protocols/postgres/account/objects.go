package account

import (
	"fmt"
	"slices"
	"strings"
)

// A reach is what a role can do by itself and by the roles that it is a member
// of: to which it can change, or whose privileges it has.
type reach struct {
	ids               map[uint32]bool
	super             bool
	readAll, writeAll bool
	moved             bool // what gets another owner has got it
}

func newReach(self *role, roles []*role) *reach {
	w := &reach{ids: make(map[uint32]bool), super: self.super}
	for _, m := range roles {
		w.ids[m.oid] = true
		w.super = w.super || m.super
		w.readAll = w.readAll || m.name == "pg_read_all_data"
		w.writeAll = w.writeAll || m.name == "pg_write_all_data"
	}
	return w
}

// can is whether a privilege is had of a column, or with column 0 of all of an
// object.
func (w *reach) can(o *object, privilege string, column int16) bool {
	if w.super || w.ids[o.owner] && !(w.moved && o.moved) {
		return true
	}
	switch {
	case o.kind == "SCHEMA":
		if privilege == "USAGE" && (w.readAll || w.writeAll) {
			return true
		}
	case o.kind != "TABLE" && o.kind != "SEQUENCE":
	case privilege == "SELECT":
		if w.readAll {
			return true
		}
	case w.writeAll:
		return true
	}
	return slices.ContainsFunc(o.grants, func(g grant) bool {
		return g.privilege == privilege && (g.column == 0 || g.column == column) &&
			(g.grantee == 0 || w.ids[g.grantee] && !(w.moved && o.moved && g.grantee == o.owner))
	})
}

// objects looks at what the account may do in one database.
func (r *Report) objects(d *database) {
	readers := make(map[uint32]bool)
	// reads is whether a role can read what is protected.
	reads := func(oid uint32) bool {
		if _, known := readers[oid]; !known {
			readers[oid] = r.reads(d, oid)
		}
		return readers[oid]
	}
	for _, rel := range d.relations {
		closed := rel.closed()
		if len(closed) == 0 {
			continue
		}
		what := fmt.Sprintf("%s (%s)", rel.name, printable(strings.Join(closed, ", ")))
		switch {
		case rel.system:
		case rel.holds():
			r.owns(d, &rel.object, what)
		case rel.invoker || !reads(rel.owner):
			continue // it reads with rights that are looked at by themselves
		case rel.owner == r.self.oid:
			// It would work no more without these rights.
			r.owns(d, &rel.object, what+", a view of protected columns")
		default:
			what += fmt.Sprintf(", a view that reads protected columns with the rights of %s", r.roleName(rel.owner))
		}
		rel.shut = true
		r.may(d, &rel.object, rel, what, "SELECT")
		if rel.holds() && !rel.system {
			// By a foreign key, values can be tried; a trigger sees them.
			r.may(d, &rel.object, rel, what, "REFERENCES", "TRIGGER")
		}
	}
	for _, f := range d.routines {
		switch {
		case !f.definer:
			r.may(d, &f.object, nil, f.name, "EXECUTE")
		case f.owner != r.self.oid && reads(f.owner):
			r.may(d, &f.object, nil, fmt.Sprintf("%s, which runs with the rights of %s", f.name, r.roleName(f.owner)), "EXECUTE")
		}
	}
	for _, s := range d.servers {
		r.may(d, s, nil, strings.ToLower(s.kind)+" "+s.name, "USAGE")
	}
	protects := slices.ContainsFunc(d.relations, func(rel *relation) bool { return !rel.system && rel.holds() })
	for _, s := range d.schemas {
		if s.name == "public" && protects { // everybody's search path has it
			r.may(d, s, nil, "in schema "+s.name, "CREATE")
		}
	}
	if d.self.owner == r.self.oid {
		r.find(d, false, "owns the database")
		d.self.moved = true
	}
	for i := range d.triggers {
		t := &d.triggers[i]
		if rel := d.byOID[t.relation]; rel != nil && len(rel.closed()) > 0 {
			r.find(d, false, "owns function %s, a trigger of %s (%s)", t.function.name, rel.name, printable(strings.Join(rel.closed(), ", ")))
			t.function.moved = true
		}
	}
	for _, rel := range d.relations {
		if of := d.byOID[rel.ownedBy]; of != nil && of.moved {
			rel.moved = true // a table takes its sequences along
		}
	}
}

func (r *Report) roleName(oid uint32) string {
	if of := r.roles[oid]; of != nil {
		return printable(of.name)
	}
	return fmt.Sprintf("role %d", oid)
}

// reads is whether a role can read what is protected.
func (r *Report) reads(d *database, oid uint32) bool {
	of := r.roles[oid]
	if of == nil {
		return false
	}
	w := newReach(of, r.reachable(of, nil))
	for _, rel := range d.relations {
		if rel.system || !rel.holds() {
			continue
		}
		for _, c := range rel.columns {
			if c.closed() && w.can(&rel.object, "SELECT", c.number) {
				return true
			}
		}
	}
	return false
}

// owns looks at who owns what is protected.
func (r *Report) owns(d *database, o *object, what string) {
	for _, m := range r.reachable(r.self, nil) {
		switch {
		case m.oid != o.owner:
		case m == r.self:
			r.find(d, true, "owns %s", what)
			o.moved = true
		default:
			r.blame(m, d, true, "owns %s", what)
		}
	}
}

// may looks at who was granted privileges of an object, of a relation on its
// closed columns.
func (r *Report) may(d *database, o *object, rel *relation, what string, privileges ...string) {
	var revoked []string
	members := r.reachable(r.self, nil)
	for _, privilege := range privileges {
		taken := false
		for _, g := range o.grants {
			if g.privilege != privilege || g.grantee == o.owner && g.grantee != 0 {
				continue
			}
			if rel != nil && g.column != 0 && !rel.column(g.column).closed() {
				continue
			}
			switch {
			case g.grantee == 0:
				r.find(d, false, "may, as PUBLIC, %s %s", privilege, what)
				taken = true
			case g.grantee == r.self.oid:
				r.find(d, false, "may %s %s", privilege, what)
				taken = true
			default:
				if i := slices.IndexFunc(members, func(m *role) bool { return m.oid == g.grantee }); i >= 0 {
					r.blame(members[i], d, false, "may %s %s", privilege, what)
				}
			}
		}
		if taken {
			revoked = append(revoked, privilege)
		}
		// A role that may because it owns the object, which only its
		// membership gives.
		if rel == nil && privilege != "CREATE" && o.owner != r.self.oid {
			if i := slices.IndexFunc(members, func(m *role) bool { return m.oid == o.owner }); i >= 0 {
				r.blame(members[i], d, false, "owns %s", what)
			}
		}
	}
	if len(revoked) > 0 {
		d.revokes = append(d.revokes, revoke{object: o, relation: rel, privileges: revoked, why: what})
	}
}
