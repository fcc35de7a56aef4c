package postgres

import (
	"context"
	"slices"
	"strings"

	"gatehouse/core/event"
	"gatehouse/core/protect"
	"gatehouse/protocols/postgres/statement"
)

// addUses adds to req the protected columns that it names, and those that it uses
// in predicates: by the columns of the relations that its statements read or
// write, whatever a name without a relation stands for. Of what a statement hides,
// all that it names decides.
func (s *session) addUses(ctx context.Context, req *event.Request, facts *statement.Result) error {
	protected := s.ps.Terms().AllProtected
	if protected == nil {
		return nil
	}
	m := s.meanings.of[facts]
	if s.holds(m, req.Statements) && m.unguarded {
		return nil
	}
	if !slices.ContainsFunc(req.Statements, func(st event.Statement) bool { return len(st.Columns) > 0 }) {
		return nil
	}
	// A column may stand in another statement than the relation that it is of.
	s.objects = s.objects[:0]
	for i := range req.Statements {
		s.objects = append(append(s.objects, req.Statements[i].Reads...), req.Statements[i].Writes...)
	}
	if len(s.objects) == 0 {
		return nil
	}
	columns, err := s.vocabulary().guardedOf(ctx, s.objects, protected)
	if len(s.objects) > maxObjects {
		s.objects = nil
	}
	if err != nil {
		return err
	}
	if len(columns) == 0 {
		if s.holds(m, req.Statements) {
			m.unguarded = true
		}
		return nil
	}
	var named, decide []string
	for i := range req.Statements {
		st := &req.Statements[i]
		named, decide = append(named, st.Columns...), append(decide, st.Predicates...)
		if st.Opaque || st.Within == "do" || st.Within == "function" {
			decide = append(decide, st.Columns...)
		}
	}
	for _, use := range []struct {
		key   string
		names []string
	}{{event.AttrColumn, named}, {event.AttrPredicate, decide}} {
		used := usedColumns(protected, columns, use.names)
		slices.Sort(used)
		for _, name := range slices.Compact(used) {
			req.Attrs = append(req.Attrs, event.Attr{Key: use.key, Value: name})
		}
	}
	return nil
}

// usesAmong are those of a request's attributes that addUses and addTold added.
func usesAmong(attrs []event.Attr) []event.Attr {
	return slices.DeleteFunc(slices.Clone(attrs), func(a event.Attr) bool {
		return a.Key != event.AttrColumn && a.Key != event.AttrPredicate && a.Key != event.AttrStored && a.Key != event.AttrSum
	})
}

// usedColumns are the protected columns that names may stand for, of those that
// there are.
func usedColumns(protected *protect.Columns, columns []namedColumn, names []string) (used []string) {
	if len(names) == 0 {
		return nil
	}
	for i := range columns {
		c := &columns[i]
		if c.name == "" { // a relation that only the session can see
			for _, n := range names {
				used = append(used, protected.Named(n[strings.LastIndexByte(n, '.')+1:])...)
			}
			continue
		}
		if !slices.ContainsFunc(names, func(n string) bool { return isNamed(n, c.name) || isNamed(n, "*") }) {
			continue
		}
		for _, list := range [][]string{c.names, c.below} {
			for _, name := range list {
				if _, is := protected.Column(name); is && !strings.HasPrefix(name, "pg_catalog.") {
					used = append(used, name)
				}
			}
		}
	}
	return used
}

// isNamed is whether name is that of a column, with or without its relation's.
func isNamed(name, column string) bool {
	before, is := strings.CutSuffix(name, column)
	return is && (before == "" || before[len(before)-1] == '.')
}

// A guardedIn is an object under what is protected.
type guardedIn struct {
	object   event.Object
	identity string
}

// maxGuarded is of how many objects it is kept which columns are protected.
const maxGuarded = 4096

// guardedOf returns those of the columns of objects that are protected, or may be
// as nobody but the session sees them.
func (v *vocabulary) guardedOf(ctx context.Context, objects []event.Object, protected *protect.Columns) (all []namedColumn, err error) {
	var missing []event.Object
	v.mu.Lock()
	for _, o := range objects {
		if found, known := v.guarded[guardedIn{o, protected.Identity()}]; known {
			all = append(all, found...)
		} else {
			missing = append(missing, o)
		}
	}
	v.mu.Unlock()
	if len(missing) == 0 {
		return all, nil
	}
	columns, err := v.catalog.columnsIn(ctx, missing)
	if err != nil {
		return nil, err
	}
	is := func(name string) bool { _, is := protected.Column(name); return is }
	v.mu.Lock()
	defer v.mu.Unlock()
	for o, list := range columns {
		var guarded []namedColumn
		for _, c := range list {
			if c.name == "" || slices.ContainsFunc(c.names, is) || slices.ContainsFunc(c.below, is) {
				guarded = append(guarded, c)
			}
		}
		if all = append(all, guarded...); list[0].name != "" && len(v.guarded) < maxGuarded {
			v.guarded[guardedIn{o, protected.Identity()}] = guarded
		}
	}
	return all, nil
}
