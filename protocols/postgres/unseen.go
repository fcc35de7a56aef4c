package postgres

import (
	"context"
	"slices"
	"strings"

	"gatehouse/core/event"
)

// refuseUnseen returns why statements are refused where columns are strictly
// protected for what a write runs unseen: triggers, rules and defaults that read a
// protected column, or cannot be read. What they store, and RETURNING then shows,
// is of no known column. Functions that a policy clears its principals for may.
func (s *session) refuseUnseen(ctx context.Context, statements []event.Statement) (*refusal, error) {
	protected := s.ps.Terms().Protected
	if !protected.Strict() || !slices.ContainsFunc(statements, func(st event.Statement) bool { return st.Parent >= 0 }) {
		return nil, nil
	}
	targets := make([][]event.Object, len(statements)) // of the write beside which each runs
	followed := make([]bool, len(statements))          // a trigger's call, of what it stores
	added := make([]bool, len(statements))             // a rule's statement, likewise
	unread := make([]bool, len(statements))            // one of those that are not followed
	hint := "A policy can clear its principals for the functions that they call."
	for i := range statements {
		st := &statements[i]
		if st.Parent < 0 || st.Parent >= i {
			continue
		}
		above := &statements[st.Parent]
		if targets[i] = targets[st.Parent]; st.Within == "trigger" || st.Within == "rule" {
			if !above.Runs || writes(above) == "" {
				continue
			}
			targets[i] = slices.Concat(targets[i], above.Writes)
			tables, function := fired(statements, i)
			is, why, err := s.follows(ctx, tables, function)
			if err != nil {
				return nil, err
			}
			followed[i], added[i] = is && function != byRule, is && function == byRule
			if why != "" {
				hint, unread[i] = why, true
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
			if unread[i] { // it may take any column of the row
				columns = []string{"*"}
			}
			var err error
			if reads, err = s.protectedAmong(ctx, protected, columns, slices.Concat(st.Reads, st.Writes, targets[i]), s.queue.redefines()); err != nil {
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
