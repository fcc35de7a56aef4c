package host

import (
	"context"
	"fmt"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
)

// batchSize is how many bytes of cells go to a guest at a time, unless one row
// is larger.
const batchSize = 64 << 10

// roomFor is room, but for inputs that no guest should be asked to hold.
func (p *Plugin) roomFor(in *instance, n int) ([]byte, error) {
	if int64(n) > p.host.options.MemoryLimit/4 {
		return nil, fmt.Errorf("%w: input of %d bytes", ErrTooLarge, n)
	}
	return in.room(n)
}

// ask calls h with an input and decodes the answer, unless it remembers one
// from m. What decode reads is valid during the call only.
func ask[V any](ctx context.Context, p *Plugin, h hook, i *input, m *memo[V], decode func([]byte) (V, error)) (v V, err error) {
	if p.factsOnly && !p.isClosed() {
		if v, ok := m.get(i.key()); ok {
			p.remembered.Add(1)
			return v, nil
		}
	}
	err = p.call(ctx, h, func(in *instance) error {
		all, session, argument := i.parts()
		view, err := p.roomFor(in, len(all))
		if err != nil {
			return err
		}
		copy(view, all)
		in.stack = [2]uint64{uint64(session), uint64(argument)}
		reply, err := in.invoke(h)
		if err != nil {
			return err
		}
		if v, err = decode(reply); err != nil {
			return fmt.Errorf("%w: %w", ErrAnswer, err)
		}
		return nil
	})
	if err != nil {
		var zero V
		return zero, err
	}
	if p.factsOnly {
		m.put(i.key(), v)
	}
	return v, nil
}

type judge struct{ *Plugin }

// Judge asks the plugin for its verdict, whose labels must not be changed.
func (p judge) Judge(ctx context.Context, s *event.Session, r *event.Request) (event.Verdict, error) {
	i := newInput(s, p.factsOnly)
	defer i.free()
	if p.factsOnly {
		facts := *r
		facts.Payload, facts.Params, facts.Cut = nil, nil, nil
		r = &facts
	}
	i.b = r.Append(i.b)
	return ask(ctx, p.Plugin, hookJudge, i, &p.verdicts, func(reply []byte) (v event.Verdict, err error) {
		err = v.Decode(reply)
		return v, err
	})
}

type masker struct{ *Plugin }

// Treat asks the plugin how it treats the fields of h. The answer must not be
// changed.
func (p masker) Treat(ctx context.Context, s *event.Session, h *event.Head) ([]event.Treatment, error) {
	i := newInput(s, p.factsOnly)
	defer i.free()
	i.b = h.Append(i.b)
	return ask(ctx, p.Plugin, hookTreat, i, &p.answers, func(reply []byte) ([]event.Treatment, error) {
		ts, err := event.DecodeTreatments(reply)
		if err != nil {
			return nil, err
		}
		return ts, p.checkTreatments(ts, h)
	})
}

func (p masker) checkTreatments(ts []event.Treatment, h *event.Head) error {
	if len(ts) != len(h.Fields) {
		return fmt.Errorf("%d treatments for %d fields", len(ts), len(h.Fields))
	}
	for _, t := range ts {
		if t.Kind == event.Replace || t.Kind == event.Inspect && !p.uses[hookInspect] {
			return fmt.Errorf("treatment %d", t.Kind)
		}
	}
	return nil
}

// Inspect gives the plugin the fields of rows and returns its edits, which are
// valid until the next call with the same rows.
func (p masker) Inspect(ctx context.Context, _ *event.Session, rows *event.Rows, fields []int) (edits []event.Edit, err error) {
	rows.DropEdits()
	if rows.Len() == 0 || len(fields) == 0 {
		return nil, nil
	}
	err = p.call(ctx, hookInspect, func(in *instance) error {
		in.describe(rows.Fields, fields)
		for from := 0; from < rows.Len(); {
			to, err := p.inspect(in, rows, fields, from, &edits)
			if err != nil {
				return err
			}
			from = to
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p.cells.Add(uint64(rows.Len() * len(fields)))
	return edits, nil
}

// inspect gives the plugin one batch of the rows from from on, described by
// in.head, and returns where the batch ends.
func (p masker) inspect(in *instance, rows *event.Rows, fields []int, from int, edits *[]event.Edit) (to int, err error) {
	to, size := event.SizeBatch(rows, fields, in.head, from, batchSize)
	view, err := p.roomFor(in, size)
	if err != nil {
		return 0, err
	}
	event.AppendBatch(view[:0:size], rows, fields, in.head, from, to)
	in.stack[0] = uint64(size)
	reply, err := in.invoke(hookInspect)
	if err != nil {
		return 0, err
	}
	if *edits, err = rows.TakeEdits(reply, fields, from, to); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	return to, nil
}

type judgeMasker struct {
	judge
	masker
}

// Name returns the name that the plugin was loaded with.
func (p judgeMasker) Name() string { return p.judge.name }

var (
	_ pipeline.Judge  = judge{}
	_ pipeline.Masker = masker{}
	_ interface {
		pipeline.Plugin
		pipeline.Judge
		pipeline.Masker
	} = judgeMasker{}
)
