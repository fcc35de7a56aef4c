package event

// Facts are the operation, the statements and the attributes of a request, encoded
// once for all requests that share them. Whoever meets the same facts again, by
// their pointer, knows that these are the same.
type Facts struct {
	operation  string
	statements []Statement
	attrs      []Attr

	encodedStatements, encodedAttrs []byte
}

// NewFacts returns facts to be shared. What they are made of must not change any
// more.
func NewFacts(operation string, statements []Statement, attrs []Attr) *Facts {
	f := &Facts{operation: operation, statements: statements, attrs: attrs}
	b := appendStatements(nil, statements)
	n := len(b)
	b = appendAttrs(b, 6, attrs)
	f.encodedStatements, f.encodedAttrs = b[:n:n], b[n:]
	return f
}

// Size is how many bytes the encoding of f takes.
func (f *Facts) Size() int { return len(f.encodedStatements) + len(f.encodedAttrs) }

// Facts returns r.Shared where it still is what r has, or nil.
func (r *Request) Facts() *Facts {
	if f := r.Shared; f != nil && f.operation == r.Operation && same(f.statements, r.Statements) && same(f.attrs, r.Attrs) {
		return f
	}
	return nil
}

// same is whether a and b are one and the same.
func same[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
