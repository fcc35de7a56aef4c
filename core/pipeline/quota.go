package pipeline

import (
	"errors"
	"slices"

	"gatehouse/core/event"
	"gatehouse/core/protect"
)

// A Quota bounds what a principal gets. Its errors say when some of it is free
// again, by a method Frees() time.Time.
type Quota interface {
	// Check returns an error where nothing is left.
	Check() error
	// Take counts rows and bytes before a client gets them. After an error
	// it must not.
	Take(rows, bytes int64) error
}

// A ColumnQuota bounds what a principal does with one column.
type ColumnQuota interface {
	Quota
	// Probe counts a predicate before it is carried out. After an error it
	// must not be.
	Probe() error
}

// ColumnQuotas bound what a principal does with each protected column.
type ColumnQuotas struct {
	// Of returns the quota of a column. Nil is none of any.
	Of func(column string) (ColumnQuota, error)
	// Over is what becomes of a request where nothing is left: Block or Hold.
	Over event.Action
}

const (
	quotaRule     = "gatehouse/quota"
	predicateRule = "protect/predicates"
	storedRule    = "protect/writes"
)

// afford returns v, or what becomes of req where a quota has nothing left for
// it, with the quota's error. What only prepares a statement uses no column.
func (t *terms) afford(req *event.Request, v event.Verdict) (event.Verdict, error) {
	if t.Quota != nil {
		if err := t.Quota.Check(); err != nil {
			return event.Verdict{Rule: quotaRule, Reason: err.Error()}, err
		}
	}
	if t.Columns.Of == nil || req.Operation == "prepare" {
		return v, nil
	}
	var exceeded error
	for _, a := range req.Attrs {
		if a.Key != event.AttrColumn && a.Key != event.AttrPredicate && a.Key != event.AttrSum {
			continue
		}
		q, err := t.Columns.Of(a.Value)
		if err != nil {
			return event.Verdict{Rule: quotaRule, Reason: err.Error()}, err
		}
		switch {
		case a.Key == event.AttrColumn:
			err = q.Check()
		case t.AllProtected.Uses().Predicates != protect.Allowed:
			err = q.Probe()
		}
		if exceeded == nil {
			exceeded = err
		}
	}
	switch {
	case exceeded == nil:
	case t.Columns.Over != event.Hold:
		v = event.Verdict{Rule: quotaRule, Reason: exceeded.Error()}
	case v.Action == event.Hold:
		v.Reason += "; " + exceeded.Error()
	default:
		v = event.Verdict{Action: event.Hold, Rule: quotaRule, Reason: exceeded.Error()}
	}
	return v, exceeded
}

// permit returns v, or what becomes of req where it has a column in a condition
// that is protected from the principal, or stores values of one. What only
// prepares a statement waits for nobody.
func (t *terms) permit(req *event.Request, v event.Verdict) event.Verdict {
	uses := t.Protected.Uses()
	for _, use := range []struct {
		key        string
		permission protect.Permission
		rule, does string
	}{
		{event.AttrPredicate, uses.Predicates, predicateRule, "it has a condition on "},
		{event.AttrStored, uses.Writes, storedRule, "it stores values of "},
	} {
		if use.permission != protect.Held && use.permission != protect.Refused {
			continue
		}
		i := slices.IndexFunc(req.Attrs, func(a event.Attr) bool {
			_, is := t.Protected.Column(a.Value)
			return a.Key == use.key && is
		})
		if i < 0 {
			continue
		}
		reason := use.does + req.Attrs[i].Value + ", which is protected"
		switch {
		case use.permission == protect.Refused:
			return event.Verdict{Rule: use.rule, Reason: reason}
		case req.Operation == "prepare" || v.Action == event.Block:
		case v.Action == event.Hold:
			v.Reason += "; " + reason
		default:
			v = event.Verdict{Action: event.Hold, Rule: use.rule, Reason: reason}
		}
	}
	return v
}

// columnQuotas are those of the columns of which the fields of h show something.
func (t *terms) columnQuotas(h *event.Head, ts []event.Treatment) ([]Quota, error) {
	if t.Columns.Of == nil {
		return nil, nil
	}
	var all []Quota
	seen := make(map[string]bool)
	for j := range h.Fields {
		if ts[j].Kind <= event.Redact {
			continue
		}
		for _, o := range h.Fields[j].Origins {
			if _, protected := t.AllProtected.Origin(&h.Fields[j], o); !protected || seen[o] {
				continue
			}
			seen[o] = true
			q, err := t.Columns.Of(o)
			if err != nil {
				return nil, err
			}
			all = append(all, q)
		}
	}
	return all, nil
}

// Take counts rows that the client is about to get, and their bytes, against the
// quotas. After an error none of them may reach it.
func (x *Exchange) Take(rows, bytes int) error {
	var err error
	if x.t.Quota != nil {
		err = x.t.Quota.Take(int64(rows), int64(bytes))
	}
	for _, q := range x.plan.quotas {
		// What someone approved, though nothing was left, comes whole.
		if more := q.Take(int64(rows), int64(bytes)); more != nil && !x.affordable {
			err = errors.Join(err, more)
		}
	}
	return err
}
