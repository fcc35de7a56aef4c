package fuel

import (
	"errors"
	"fmt"
)

// chunk is how much of what depends on a branch may be charged ahead of it. The
// smaller it is the closer is what is charged to what runs, and the more there
// are of points that charge.
const chunk = 100

// small is what is not worth a point of its own.
const small = 4

// smallFunction is what a function may cost that does not look whether there is
// fuel. Callers look, and have no more than 2^16 calls in a row.
const smallFunction = 200

// Points that charge.
type pointKind byte

const (
	charge pointKind = iota // only
	entry                   // of a function: traps without fuel
	header                  // of a loop: gets more
)

// A point charges for instructions that run only after it. Code in a sequence,
// behind one of its instructions, can be reached by no branch from elsewhere:
// so a point charges for all that follows in its sequence and in blocks within,
// up to the next point.
type point struct {
	at     int // in the code, behind an instruction
	kind   pointKind
	cost   int64
	parent int   // the point that is certain to come before
	ahead  int64 // what of the cost depends on branches
}

// A frame is a block that is open: what charges for the code behind it.
type frame struct {
	kind kind
	back int // the point
}

// A body is the function being rewritten. Its memory is used again for the next
// one.
type body struct {
	m      *module
	points []point
	frames []frame
	out    []byte

	code   []byte
	from   int   // of the instructions in code
	locals int   // parameters too
	slots  int64 // what its frame charges of the stack
	calls  bool  // others
	bulk   bool  // it has bulk operations

	complex int64 // how many parts it falls into
}

// rewrite returns the function's code, rewritten, which is valid until the next
// call.
func (f *body) rewrite(m *module, s signature, code []byte) ([]byte, error) {
	*f = body{m: m, points: f.points[:0], frames: f.frames[:0], out: f.out[:0], code: code}
	r := &reader{b: code}
	f.readLocals(r, s)
	f.from = r.at
	f.plan(r)
	if r.err != nil {
		return nil, r.err
	}
	f.settle()
	f.emit(s)
	return f.out, nil
}

func (f *body) readLocals(r *reader, s signature) {
	f.locals = len(s.params)
	for range r.count() {
		n := r.u32()
		r.byte() // their type
		if int64(f.locals)+int64(n) > MaxLocals {
			r.fail(fmt.Errorf("function of more than %d locals", MaxLocals))
			return
		}
		f.locals += int(n)
	}
}

// plan finds the points and what they charge.
func (f *body) plan(r *reader) {
	// Entering costs, and setting the locals to zero.
	f.points = append(f.points, point{at: r.at, kind: entry, cost: 2 + int64(f.locals)/4, parent: -1})
	f.frames = append(f.frames, frame{isBlock, 0})
	at, values, loops := 0, 0, 0
	var in instruction
	for len(f.frames) > 0 {
		r.instruction(&in)
		if r.err != nil {
			return
		}
		f.check(r, &in)
		f.m.keeps = f.m.keeps && in.keeps
		f.points[at].cost += in.cost
		if in.value {
			values++
		}
		f.complex += in.complexity()
		switch in.kind {
		case isBlock, isIf:
			f.frames = append(f.frames, frame{in.kind, at})
			if in.kind == isIf {
				at = f.next(r.at, at)
			}
		case isLoop:
			f.frames = append(f.frames, frame{isLoop, at})
			loops++
			f.points = append(f.points, point{at: r.at, kind: header, cost: 1, parent: at})
			at = len(f.points) - 1
		case isElse:
			top := f.frames[len(f.frames)-1]
			if top.kind != isIf {
				r.fail(ErrMalformed)
				return
			}
			f.frames[len(f.frames)-1].kind = isElse
			at = f.next(r.at, top.back)
		case isEnd:
			top := f.frames[len(f.frames)-1]
			f.frames = f.frames[:len(f.frames)-1]
			if len(f.frames) > 0 {
				at = f.next(r.at, top.back)
			}
		case isBranch:
			at = f.next(r.at, at)
		case isCall, isCallIndirect:
			f.calls = true
			if in.kind == isCall && in.index < f.m.imported {
				f.points[at].cost += costCross
			}
		case isBytes, isElements, isPages:
			f.bulk = true
		}
	}
	if r.more() {
		r.fail(ErrMalformed)
	}
	// Compiling takes time by the square of the parts, and by the locals that
	// each of them may change.
	f.m.complex += f.complex * (f.complex + 32*int64(f.locals))
	if f.m.complex > MaxComplexity {
		r.fail(errors.New("module is too complex: functions have too many blocks, branches and locals"))
	}
	// A frame has room for each local, for each of them in each loop, and for
	// some of the values.
	f.slots = int64(8 + f.locals*(1+loops) + values/4)
}

// next adds a point for what follows a branch, or the end of a block, and
// returns it. The point back charged for what was before.
func (f *body) next(at, back int) int {
	f.points = append(f.points, point{at: at, parent: back})
	return len(f.points) - 1
}

// check refuses indices that would mean something that is added.
func (f *body) check(r *reader, in *instruction) {
	n := 1 << 32 // which is all
	switch in.kind {
	case isBlock, isLoop, isIf:
		if in.index == noType {
			return
		}
		n = len(f.m.types)
	case isCallIndirect:
		n = len(f.m.types)
	case isCall, isRefFunc:
		n = len(f.m.functions)
	case isLocal:
		n = f.locals
	case isGlobal:
		n = int(f.m.globals)
	case isBranch, isJump:
		n = len(f.frames)
	}
	f.m.checkIndex(r, in.index, n)
}

// settle lets points charge for those behind them, if that is not much. Points
// stand in the order of the code, each behind its parent.
func (f *body) settle() {
	for i := len(f.points) - 1; i > 0; i-- {
		p := &f.points[i]
		parent := &f.points[p.parent]
		if p.kind == charge && (p.cost <= small || parent.ahead+p.cost <= chunk) {
			parent.cost += p.cost
			parent.ahead += p.cost
			p.cost = 0
		}
	}
}
