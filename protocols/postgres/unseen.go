package postgres

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/core/event"
	"gatehouse/core/protect"
)

// refuseUnseen returns why statements are refused where columns are strictly
// protected for what a write runs unseen: triggers, rules and defaults that read a
// protected column, or cannot be read. What they store, and RETURNING then shows,
// is of no known column. Functions that a policy clears its principals for may.
func (s *session) refuseUnseen(ctx context.Context, statements []event.Statement) (*refusal, error) {
	protected := s.ps.Terms().Protected
	if !protected.Strict() || !slices.ContainsFunc(statements, func(st event.Statement) bool { return st.Parent >= 0 || writes(&st) != "" }) {
		return nil, nil
	}
	if r, err := s.refuseTriggers(ctx, protected, statements); r != nil || err != nil {
		return r, err
	}
	targets := make([][]event.Object, len(statements)) // of the write beside which each runs
	written := make([][]event.Object, len(statements)) // what each writes, or is written through its view
	followed := make([]bool, len(statements))          // a trigger's call, of what it stores
	added := make([]bool, len(statements))             // a rule's statement, likewise
	hint := "A policy can clear its principals for the functions that they call."
	for i := range statements {
		st := &statements[i]
		if writes(st) != "" {
			written[i] = st.Writes
		}
		if st.Parent < 0 || st.Parent >= i {
			continue
		}
		targets[i] = targets[st.Parent]
		switch above := written[st.Parent]; {
		case st.Within == "view" && len(above) > 0:
			written[i] = slices.Concat(above, st.Reads)
		case st.Within == "trigger", st.Within == "rule":
			if len(above) == 0 || !statements[st.Parent].Runs {
				continue
			}
			targets[i] = slices.Concat(targets[i], above)
			function := byRule
			if st.Within == "trigger" {
				function = ""
				if len(st.Functions) == 1 {
					function = strings.ToLower(st.Functions[0])
				}
			}
			is, why, err := s.follows(ctx, above, function)
			if err != nil {
				return nil, err
			}
			followed[i], added[i] = is && function != byRule, is && function == byRule
			if why != "" {
				hint = why
			}
		}
		if len(targets[i]) == 0 {
			continue
		}
		if len(st.Functions) > 0 && !slices.ContainsFunc(st.Functions, func(f string) bool { return !protected.Clears(f + "()") }) {
			targets[i] = nil
			continue
		}
		reads := st.Opaque
		if !reads && !followed[st.Parent] && !added[i] {
			columns := make([]string, len(st.Columns))
			for j, name := range st.Columns {
				columns[j] = name[strings.LastIndexByte(name, '.')+1:]
			}
			var err error
			if reads, err = s.screen(protected).protectedAmong(ctx, columns, slices.Concat(st.Reads, st.Writes, targets[i]), s.queue.redefines()); err != nil {
				return nil, err
			}
		}
		if reads {
			return &refusal{code: codeAccessDenied, message: "gatehouse: a write is refused whose triggers, rules or defaults read protected columns, or cannot be read" + because,
				hint: hint}, nil
		}
	}
	return nil, nil
}

// refuseTriggers returns why statements are refused for a trigger, or a rule, of what
// they write: it is not followed, and may take what is protected of the row, or, where
// writes are not tracked, it does something with that.
func (s *session) refuseTriggers(ctx context.Context, protected *protect.Columns, statements []event.Statement) (*refusal, error) {
	where, _ := s.temporaries()
	v := s.vocabulary()
	w := &world{vocabulary: v, temporary: where, protected: protected} // whatever the path is
	paths := []string{s.path(ctx)}
	if paths[0] != "" && slices.ContainsFunc(statements, func(st event.Statement) bool { return movesPath(&st) }) {
		paths = append(paths, "")
	}
	for i := range statements {
		st := &statements[i]
		if !st.Runs {
			continue
		}
		fired, err := w.fired(ctx, st)
		if _, answered := errors.AsType[*pgconn.PgError](err); answered {
			return refuseTracked("a write is refused whose triggers cannot be read at the moment", "Send it again."), nil
		}
		if err != nil {
			return nil, err
		}
		for _, t := range fired {
			if t.function != byRule && protected.Clears(t.function+"()") {
				continue
			}
			if t.unread != "" {
				if !t.rows || t.function == byRule && !s.tracks() { // it names what it reads
					continue
				}
				takes, err := s.screen(protected).protectedAmong(ctx, []string{"*"}, []event.Object{{Schema: t.table.Schema, Name: t.table.Name}}, s.queue.redefines())
				if err != nil {
					return nil, err
				}
				if takes {
					return refuseTracked("a write is refused whose triggers, rules or defaults read protected columns, or cannot be read", "The "+t.String()+" is not followed: "+t.unread+"."), nil
				}
				continue
			}
			for _, path := range paths {
				if s.tracks() {
					break // what it stores is tracked
				}
				told, err := v.tell(ctx, sense{trigger: t, path: path, temporary: where, uncertain: true}, protected, s.ps.Terms().AllProtected)
				if err != nil {
					return nil, err
				}
				if told.refusal != "" || told.fails || len(told.stores) > 0 {
					return refuseTracked("a write is refused whose "+t.String()+" moves protected values on", "Of it: "+cmp.Or(told.refusal, "whether it fails may depend on protected columns")+"."), nil
				}
			}
		}
	}
	return nil, nil
}
