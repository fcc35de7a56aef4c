package fuel

import "fmt"

// Instructions that are looked at or written.
const (
	opUnreachable = 0x00
	opBlock       = 0x02
	opLoop        = 0x03
	opIf          = 0x04
	opElse        = 0x05
	opEnd         = 0x0b
	opBr          = 0x0c
	opBrIf        = 0x0d
	opBrTable     = 0x0e
	opReturn      = 0x0f
	opCall        = 0x10
	opCallInd     = 0x11
	opLocalGet    = 0x20
	opLocalSet    = 0x21
	opLocalTee    = 0x22
	opGlobalGet   = 0x23
	opGlobalSet   = 0x24
	opTableSet    = 0x26
	opMemoryGrow  = 0x40
	opI64Const    = 0x42
	opI64LtS      = 0x53
	opI64Add      = 0x7c
	opI64Sub      = 0x7d
	opI64Mul      = 0x7e
	opI64ShrU     = 0x88
	opExtendU     = 0xad // i64.extend_i32_u
	opRefFunc     = 0xd2
	opMore        = 0xfc
	opVector      = 0xfd
	opAtomic      = 0xfe
)

// A kind says what rewriting does with an instruction.
type kind byte

const (
	isPlain kind = iota
	isBlock
	isLoop
	isIf
	isElse
	isEnd
	isBranch // conditional
	isJump   // or the end of the function: what follows is not reached
	isReturn
	isCall
	isCallIndirect
	isLocal
	isGlobal
	isRefFunc
	isBytes    // a bulk operation on bytes, its length on top of the stack
	isElements // one on elements
	isPages    // memory.grow
)

// What instructions cost, where it is not 1: about what they take, in terms of
// a simple one. Those on vectors are charged as two.
const (
	costDivide = 10
	costCall   = 8
	costCross  = 100 // leaves the module, or takes the length of something
	costVector = 2
	costAtomic = 20

	bytesPerUnit    = 3 // as a power of two
	unitsPerElement = 4
	unitsPerPage    = 64 << 10 >> bytesPerUnit
)

type instruction struct {
	op    byte
	kind  kind
	index uint32 // of a function, a local, a global; how far a branch goes; a type
	value bool   // it makes a value, other than a constant
	cost  int64
	keeps bool // tables and segments
}

// complexity is into how many parts an instruction divides a function, with
// what is added to it.
func (in *instruction) complexity() int64 {
	switch in.kind {
	case isBlock, isIf, isBranch:
		return 1
	case isLoop, isBytes, isElements, isPages:
		return 3
	}
	return 0
}

// instruction reads the next instruction.
func (r *reader) instruction(in *instruction) {
	op := r.byte()
	*in = instruction{op: op, cost: 1, keeps: true}
	switch {
	case op <= 0x01: // unreachable, nop
		if op == opUnreachable {
			in.kind = isJump
		}
	case op == opBlock, op == opLoop, op == opIf:
		in.kind = isBlock + kind(op-opBlock)
		in.index = r.blockType()
		if op != opIf {
			in.cost = 0
		}
	case op == opElse:
		in.kind, in.cost = isElse, 0
	case op == opEnd:
		in.kind, in.cost = isEnd, 0
	case op == opBr:
		in.kind, in.index = isJump, r.u32()
	case op == opBrIf:
		in.kind, in.index = isBranch, r.u32()
	case op == opBrTable:
		in.kind, in.cost = isJump, 3
		for range r.count() {
			in.index = max(in.index, r.u32())
		}
		in.index = max(in.index, r.u32())
	case op == opReturn:
		in.kind = isReturn
	case op == opCall:
		in.kind, in.index, in.cost, in.value = isCall, r.u32(), costCall, true
	case op == opCallInd:
		in.kind, in.index, in.cost, in.value = isCallIndirect, r.u32(), 2*costCall, true
		r.u32()
	case op == 0x1a: // drop
	case op == 0x1b: // select
		in.value = true
	case op == 0x1c:
		in.value = true
		r.skip(r.count())
	case op >= opLocalGet && op <= opLocalTee:
		in.kind, in.index, in.value = isLocal, r.u32(), op != opLocalGet
	case op == opGlobalGet, op == opGlobalSet:
		in.kind, in.index, in.value = isGlobal, r.u32(), true
	case op == 0x25, op == opTableSet:
		r.u32()
		in.cost, in.value, in.keeps = costCall, true, op != opTableSet
	case op >= 0x28 && op <= 0x3e: // loads and stores
		in.value = true
		r.memarg()
	case op == 0x3f: // memory.size
		in.value = true
		r.skip(1)
	case op == opMemoryGrow:
		in.kind, in.cost, in.value = isPages, costCross, true
		r.skip(1)
	case op == 0x41:
		r.skipLEB(5)
	case op == opI64Const:
		r.skipLEB(10)
	case op == 0x43:
		r.skip(4)
	case op == 0x44:
		r.skip(8)
	case op >= 0x45 && op <= 0xc4: // on numbers
		in.value = true
		if divides(op) {
			in.cost = costDivide
		}
	case op == 0xd0: // ref.null
		r.skip(1)
	case op == 0xd1: // ref.is_null
		in.value = true
	case op == opRefFunc:
		in.kind, in.index, in.cost, in.value = isRefFunc, r.u32(), costCross, true
	case op == opMore:
		in.value = true
		r.bulk(in)
	case op == opVector:
		in.value = true
		r.vector(in)
	case op == opAtomic:
		in.value, in.cost = true, costAtomic
		r.atomic()
	default:
		r.fail(fmt.Errorf("unknown instruction %#x", op))
	}
}

// divides says whether op divides, or takes a square root.
func divides(op byte) bool {
	switch {
	case op >= 0x6d && op <= 0x70, op >= 0x7f && op <= 0x82: // of integers
		return true
	case op == 0x91, op == 0x95, op == 0x9f, op == 0xa3:
		return true
	}
	return false
}

// noType is the index of a block's type that is no index.
const noType = 1<<32 - 1

// blockType reads a block's type and returns its index, or noType.
func (r *reader) blockType() uint32 {
	if !r.more() {
		r.fail(ErrMalformed)
		return noType
	}
	if c := r.b[r.at]; c&0xc0 == 0x40 {
		r.at++
		return noType
	}
	// A positive number in signed LEB128.
	index := r.u32()
	return index
}

func (r *reader) memarg() {
	if r.u32() >= 64 {
		r.fail(fmt.Errorf("%w: alignment", ErrMalformed))
	}
	r.u32()
}

// bulk reads what follows opMore.
func (r *reader) bulk(in *instruction) {
	op := r.u32()
	switch op {
	case 0, 1, 2, 3, 4, 5, 6, 7: // conversions
	case 8, 10: // memory.init, memory.copy
		r.u32()
		r.u32()
		in.kind, in.cost = isBytes, costCross
	case 11: // memory.fill
		r.u32()
		in.kind, in.cost = isBytes, costCross
	case 9, 13: // data.drop, elem.drop
		r.u32()
		in.keeps = false
	case 12, 14: // table.init, table.copy
		r.u32()
		r.u32()
		in.kind, in.cost, in.keeps = isElements, costCross, false
	case 15, 17: // table.grow, table.fill
		r.u32()
		in.kind, in.cost, in.keeps = isElements, costCross, false
	case 16: // table.size
		r.u32()
	default:
		r.fail(fmt.Errorf("unknown instruction %#x %d", opMore, op))
	}
}

// vector reads what follows opVector.
func (r *reader) vector(in *instruction) {
	op := r.u32()
	in.cost = costVector
	switch {
	case op <= 11, op == 92, op == 93:
		r.memarg()
	case op == 12, op == 13:
		r.skip(16)
	case op >= 21 && op <= 34:
		r.skip(1)
	case op >= 84 && op <= 91:
		r.memarg()
		r.skip(1)
	case op == 227, op == 231, op == 239, op == 243: // roots, quotients
		in.cost = 2 * costDivide
	case op > 255:
		r.fail(fmt.Errorf("unknown instruction %#x %d", opVector, op))
	}
}

// atomic reads what follows opAtomic. Whether a guest may have such instructions
// is for the runtime to say; those that wait would not be stopped.
func (r *reader) atomic() {
	switch op := r.u32(); {
	case op <= 2, op >= 0x10 && op <= 0x4e:
		r.memarg()
	case op == 3: // atomic.fence
		r.skip(1)
	default:
		r.fail(fmt.Errorf("unknown instruction %#x %d", opAtomic, op))
	}
}
