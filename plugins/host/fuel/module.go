package fuel

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Sections, by their numbers.
const (
	secCustom = iota
	secType
	secImport
	secFunction
	secTable
	secMemory
	secGlobal
	secExport
	secStart
	secElement
	secCode
	secData
	secDataCount
)

// order is the order of sections in a module.
var order = []byte{
	secType, secImport, secFunction, secTable, secMemory, secGlobal, secExport, secStart,
	secElement, secDataCount, secCode, secData,
}

// Types.
const (
	typeFunc  = 0x60
	typeF64   = 0x7c
	typeI64   = 0x7e
	typeI32   = 0x7f
	typeEmpty = 0x40
)

// What imports and exports are of.
const (
	kindFunc = iota
	kindTable
	kindMemory
	kindGlobal
)

// A signature is a function's type.
type signature struct{ params, results []byte }

// A module is one that is being rewritten: what of it is needed to rewrite its
// functions.
type module struct {
	limits   Limits
	sections [secDataCount + 1][]byte
	has      [secDataCount + 1]bool

	types     []signature
	more      []signature // types that are added
	functions []uint32    // the types of all functions, imported ones first
	imported  uint32      // functions
	globals   uint32
	mutable   []uint32 // globals that are its own
	imports   uint32   // of all kinds
	start     uint32
	hasStart  bool
	keeps     bool
	complex   int64

	body body // of the function at hand
}

// read takes the sections apart and reads those that declare what others use.
func (m *module) read(b []byte) error {
	r := &reader{b: b}
	next := 0
	for r.more() {
		id := r.byte()
		content := r.bytes()
		if id == secCustom {
			name := &reader{b: content}
			if !utf8.Valid(name.bytes()) || name.err != nil {
				return ErrMalformed
			}
			continue
		}
		for next < len(order) && order[next] != id {
			next++
		}
		if next == len(order) {
			return ErrMalformed
		}
		next++
		m.sections[id], m.has[id] = content, true
		if id == secStart || id == secDataCount {
			continue
		}
		if n := (&reader{b: content}).u32(); n > MaxItems {
			return fmt.Errorf("section %d of %d items is larger than %d", id, n, MaxItems)
		}
	}
	if r.err != nil {
		return r.err
	}
	for _, s := range []struct {
		id   byte
		read func(*reader)
	}{
		{secType, m.readTypes}, {secImport, m.readImports}, {secFunction, m.readFunctions},
		{secTable, m.readTables}, {secGlobal, m.readGlobals}, {secStart, m.readStart},
	} {
		if !m.has[s.id] {
			continue
		}
		r := &reader{b: m.sections[s.id]}
		s.read(r)
		if r.err == nil && r.more() {
			r.fail(ErrMalformed)
		}
		if r.err != nil {
			return r.err
		}
	}
	return nil
}

func (m *module) readTypes(r *reader) {
	for range r.count() {
		if r.byte() != typeFunc {
			r.fail(ErrMalformed)
		}
		s := signature{r.bytes(), r.bytes()}
		if len(s.params) > MaxLocals || len(s.results) > MaxResults {
			r.fail(fmt.Errorf("function type of %d parameters and %d results", len(s.params), len(s.results)))
		}
		m.types = append(m.types, s)
	}
}

func (m *module) readImports(r *reader) {
	m.imports = uint32(r.count())
	for range m.imports {
		from, _ := r.bytes(), r.bytes()
		if strings.HasPrefix(string(from), Prefix) {
			r.fail(fmt.Errorf("imports from %.100q, which is the host's own", from))
		}
		switch r.byte() {
		case kindFunc:
			m.function(r)
			m.imported++
		case kindTable:
			m.readTable(r)
		case kindMemory:
			readLimits(r)
		case kindGlobal:
			r.skip(2)
			m.globals++
		default:
			r.fail(ErrMalformed)
		}
	}
}

// function reads the type of the next function.
func (m *module) function(r *reader) {
	t := r.u32()
	if int(t) >= len(m.types) {
		r.fail(ErrMalformed)
		return
	}
	m.functions = append(m.functions, t)
}

func (m *module) readFunctions(r *reader) {
	for range r.count() {
		m.function(r)
	}
}

func (m *module) readTables(r *reader) {
	for range r.count() {
		m.readTable(r)
	}
}

func (m *module) readTable(r *reader) {
	r.byte() // the type of its elements
	if size := readLimits(r); int64(size) > int64(m.limits.Table) {
		r.fail(fmt.Errorf("table of %d elements is larger than %d", size, m.limits.Table))
	}
}

func readLimits(r *reader) (low uint32) {
	flags := r.byte()
	if flags > 3 {
		r.fail(ErrMalformed)
	}
	low = r.u32()
	if flags&1 != 0 {
		r.u32()
	}
	return low
}

func (m *module) readGlobals(r *reader) {
	for range r.count() {
		kind := r.byte()
		if r.byte() == 1 {
			m.mutable = append(m.mutable, m.globals)
			m.keeps = m.keeps && kind >= typeF64 && kind <= typeI32
		}
		m.globals++
		constant(r, nil, m)
	}
}

func (m *module) readStart(r *reader) {
	m.start, m.hasStart = r.u32(), true
	if int(m.start) >= len(m.functions) {
		r.fail(ErrMalformed)
	} else if s := m.types[m.functions[m.start]]; len(s.params)+len(s.results) > 0 {
		r.fail(ErrMalformed)
	}
}

// Indices of what is added. The host's function comes behind the imported ones,
// so that the module's own move up.
func (m *module) tick() uint32  { return m.imported }
func (m *module) fuel() uint32  { return m.globals }
func (m *module) stack() uint32 { return m.globals + 1 }

func (m *module) moved(function uint32) uint32 {
	if function >= m.imported {
		return function + 1
	}
	return function
}

// typeOf returns the index of a type that is added unless it was before.
func (m *module) typeOf(s signature) uint32 {
	for i, t := range m.more {
		if string(t.params) == string(s.params) && string(t.results) == string(s.results) {
			return uint32(len(m.types) + i)
		}
	}
	m.more = append(m.more, s)
	return uint32(len(m.types) + len(m.more) - 1)
}

// write puts the rewritten module together.
func (m *module) write() ([]byte, error) {
	tick := m.typeOf(signature{[]byte{typeI64}, []byte{typeI64}})
	for _, s := range []struct {
		id    byte
		write func(*reader, []byte) []byte
	}{
		{secImport, func(r *reader, b []byte) []byte { return m.writeImports(r, b, tick) }},
		{secGlobal, m.writeGlobals},
		{secExport, m.writeExports},
		{secElement, m.writeElements},
		{secCode, m.writeCode},
		{secData, m.writeData},
		{secType, m.writeTypes}, // those that code adds too
	} {
		if added := s.id == secImport || s.id == secGlobal || s.id == secExport || s.id == secType; !m.has[s.id] {
			if !added {
				continue
			}
			m.sections[s.id], m.has[s.id] = []byte{0}, true
		}
		r := &reader{b: m.sections[s.id]}
		b := s.write(r, make([]byte, 0, len(r.b)+len(r.b)/2+64))
		if r.err == nil && r.more() {
			r.fail(ErrMalformed)
		}
		if r.err != nil {
			return nil, r.err
		}
		m.sections[s.id] = b
	}
	m.has[secStart] = false
	size := len(magic)
	for _, s := range m.sections {
		size += len(s) + 6
	}
	b := append(make([]byte, 0, size), magic...)
	for _, id := range order {
		if m.has[id] {
			b = counted(append(b, id), m.sections[id])
		}
	}
	return b, nil
}

func (m *module) writeTypes(r *reader, b []byte) []byte {
	r.count()
	b = u32(b, uint32(len(m.types)+len(m.more)))
	b = append(b, r.take(len(r.b)-r.at)...)
	for _, s := range m.more {
		b = counted(counted(append(b, typeFunc), s.params), s.results)
	}
	return b
}

func (m *module) writeImports(r *reader, b []byte, tick uint32) []byte {
	r.count()
	b = u32(b, m.imports+1)
	b = append(b, r.take(len(r.b)-r.at)...)
	b = counted(counted(b, []byte(TickModule)), []byte(Tick))
	return u32(append(b, kindFunc), tick)
}

func (m *module) writeGlobals(r *reader, b []byte) []byte {
	n := r.count()
	b = u32(b, uint32(n+2))
	for range n {
		b = append(b, r.byte(), r.byte())
		b = constant(r, b, m)
	}
	// The stack counts down from what the host sets, the fuel from there too.
	for range 2 {
		b = append(b, typeI64, 1, opI64Const, 0, opEnd)
	}
	return b
}

func (m *module) writeExports(r *reader, b []byte) []byte {
	n := r.count()
	added := 2 + len(m.mutable)
	if m.hasStart {
		added++
	}
	b = u32(b, uint32(n+added))
	for range n {
		name := r.bytes()
		if strings.HasPrefix(string(name), Prefix) {
			r.fail(fmt.Errorf("exports %q, a name that is the host's own", name))
		}
		kind, index := r.byte(), r.u32()
		switch kind {
		case kindFunc:
			m.checkIndex(r, index, len(m.functions))
			index = m.moved(index)
		case kindGlobal:
			m.checkIndex(r, index, int(m.globals))
		}
		b = u32(append(counted(b, name), kind), index)
	}
	export := func(name string, kind byte, index uint32) {
		b = u32(append(counted(b, []byte(name)), kind), index)
	}
	export(Fuel, kindGlobal, m.fuel())
	export(Stack, kindGlobal, m.stack())
	for i, g := range m.mutable {
		export(Global(i), kindGlobal, g)
	}
	if m.hasStart {
		export(Start, kindFunc, m.moved(m.start))
	}
	return b
}

func (m *module) checkIndex(r *reader, index uint32, n int) {
	if int64(index) >= int64(n) {
		r.fail(ErrMalformed)
	}
}

func (m *module) writeElements(r *reader, b []byte) []byte {
	n := r.count()
	b = u32(b, uint32(n))
	for range n {
		flags := r.u32()
		if flags > 7 {
			r.fail(ErrMalformed)
		}
		b = u32(b, flags)
		if flags&1 == 0 {
			if flags&2 != 0 {
				b = u32(b, r.u32()) // the table
			}
			b = constant(r, b, m)
		}
		if flags&3 != 0 {
			b = append(b, r.byte()) // the kind or the type of the elements
		}
		k := r.count()
		if k > m.limits.Table {
			r.fail(fmt.Errorf("segment of %d elements is larger than %d", k, m.limits.Table))
			return b
		}
		b = u32(b, uint32(k))
		for range k {
			if flags&4 != 0 {
				b = constant(r, b, m)
				continue
			}
			f := r.u32()
			m.checkIndex(r, f, len(m.functions))
			b = u32(b, m.moved(f))
		}
	}
	return b
}

// writeData copies the data, whose offsets must not read what is added.
func (m *module) writeData(r *reader, b []byte) []byte {
	b = append(b, r.b...)
	for range r.count() {
		flags := r.u32()
		if flags > 2 {
			r.fail(ErrMalformed)
		}
		if flags == 2 {
			r.u32() // the memory
		}
		if flags != 1 {
			constant(r, nil, m)
		}
		r.bytes()
	}
	return b
}

func (m *module) writeCode(r *reader, b []byte) []byte {
	n := r.count()
	if n != len(m.functions)-int(m.imported) {
		r.fail(ErrMalformed)
		return b
	}
	b = u32(b, uint32(n))
	for i := range n {
		code := r.bytes()
		if len(code) > m.limits.Body {
			r.fail(fmt.Errorf("function body of %d bytes is larger than %d", len(code), m.limits.Body))
			return b
		}
		out, err := m.body.rewrite(m, m.types[m.functions[int(m.imported)+i]], code)
		if err != nil {
			r.fail(err)
			return b
		}
		b = counted(b, out)
	}
	return b
}

// constant copies an initial value or an offset, if b is not nil, with the
// functions in it moved.
func constant(r *reader, b []byte, m *module) []byte {
	var in instruction
	for from := r.at; ; from = r.at {
		r.instruction(&in)
		switch in.kind {
		case isGlobal:
			m.checkIndex(r, in.index, int(m.globals))
		case isRefFunc:
			if b != nil {
				b = u32(append(b, opRefFunc), m.moved(in.index))
				continue
			}
		case isPlain, isEnd:
		default:
			r.fail(ErrMalformed)
		}
		if b != nil {
			b = append(b, r.b[from:r.at]...)
		}
		if in.kind == isEnd || r.err != nil {
			return b
		}
	}
}
