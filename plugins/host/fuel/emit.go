package fuel

// emit writes the function: its locals and those that are added, what its entry
// does, and its instructions. If it calls others these stand in a block, behind
// which the stack gets back what the entry took; to return is to leave the
// block.
func (f *body) emit(s signature) {
	f.emitLocals()
	f.emitEntry()
	if f.calls {
		f.emitBlock(s.results)
	}
	r := &reader{b: f.code, at: f.from}
	points := f.points[1:]
	depth, copied := 0, f.from
	flush := func(to int) {
		f.out = append(f.out, f.code[copied:to]...)
		copied = r.at
	}
	var in instruction
	for r.more() {
		from := r.at
		r.instruction(&in)
		switch in.kind {
		case isBlock, isLoop, isIf:
			depth++
		case isEnd:
			depth--
		case isCall, isRefFunc:
			flush(from)
			f.indexed(in.op, f.m.moved(in.index))
		case isReturn:
			if f.calls {
				flush(from)
				f.indexed(opBr, uint32(depth))
			}
		case isBytes, isElements, isPages:
			flush(from)
			f.chargeLength(in.kind)
			f.out = append(f.out, f.code[from:r.at]...)
		}
		for len(points) > 0 && points[0].at == r.at {
			if points[0].cost > 0 {
				flush(r.at)
				f.emitPoint(&points[0])
			}
			points = points[1:]
		}
	}
	f.out = append(f.out, f.code[copied:]...)
	if f.calls {
		f.add(opI64Add, f.slots, f.m.stack())
		f.out = append(f.out, opEnd)
	}
}

// emitLocals adds a local for lengths.
func (f *body) emitLocals() {
	if !f.bulk {
		f.out = append(f.out, f.code[:f.from]...)
		return
	}
	r := &reader{b: f.code}
	n := r.count()
	f.out = u32(f.out, uint32(n+1))
	f.out = append(f.out, f.code[r.at:f.from]...)
	f.out = append(f.out, 1, typeI32)
}

// emitEntry charges what is certain, and the stack. Small functions that call
// none trust in their callers to look whether there is fuel.
func (f *body) emitEntry() {
	cost := f.points[0].cost
	f.add(opI64Sub, cost, f.m.fuel())
	if f.calls || cost > smallFunction {
		f.trapBelow(-Overdraft, f.m.fuel())
	}
	if f.calls {
		f.add(opI64Sub, f.slots, f.m.stack())
		f.trapBelow(0, f.m.stack())
	}
}

// emitBlock opens a block that leaves a function's results.
func (f *body) emitBlock(results []byte) {
	f.out = append(f.out, opBlock)
	switch len(results) {
	case 0:
		f.out = append(f.out, typeEmpty)
	case 1:
		f.out = append(f.out, results[0])
	default:
		f.out = s64(f.out, int64(f.m.typeOf(signature{nil, results})))
	}
}

func (f *body) emitPoint(p *point) {
	f.add(opI64Sub, p.cost, f.m.fuel())
	if p.kind == header {
		f.refuel()
	}
}

// chargeLength charges for the length on top of the stack, and leaves it there.
func (f *body) chargeLength(k kind) {
	length := uint32(f.locals) // the local that is added
	f.indexed(opLocalTee, length)
	f.indexed(opGlobalGet, f.m.fuel())
	f.indexed(opLocalGet, length)
	f.out = append(f.out, opExtendU)
	switch k {
	case isBytes:
		f.constant(bytesPerUnit)
		f.out = append(f.out, opI64ShrU)
	case isElements:
		f.constant(unitsPerElement)
		f.out = append(f.out, opI64Mul)
	case isPages:
		f.constant(unitsPerPage)
		f.out = append(f.out, opI64Mul)
	}
	f.out = append(f.out, opI64Sub)
	f.indexed(opGlobalSet, f.m.fuel())
	f.refuel()
}

// add adds n to a counter, or subtracts it.
func (f *body) add(op byte, n int64, counter uint32) {
	f.indexed(opGlobalGet, counter)
	f.constant(n)
	f.out = append(f.out, op)
	f.indexed(opGlobalSet, counter)
}

// below opens what is done if a counter is below limit.
func (f *body) below(limit int64, counter uint32) {
	f.indexed(opGlobalGet, counter)
	f.constant(limit)
	f.out = append(f.out, opI64LtS, opIf, typeEmpty)
}

func (f *body) trapBelow(limit int64, counter uint32) {
	f.below(limit, counter)
	f.out = append(f.out, opUnreachable, opEnd)
}

// refuel gets more fuel if there is none.
func (f *body) refuel() {
	f.below(0, f.m.fuel())
	f.indexed(opGlobalGet, f.m.fuel())
	f.indexed(opCall, f.m.tick())
	f.indexed(opGlobalSet, f.m.fuel())
	f.out = append(f.out, opEnd)
}

// indexed appends an instruction with an index.
func (f *body) indexed(op byte, index uint32) { f.out = u32(append(f.out, op), index) }

func (f *body) constant(v int64) { f.out = s64(append(f.out, opI64Const), v) }
