package event

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// The encoding of every structure is a sequence of elements: a tag (uvarint),
// a length (uvarint) and that many bytes. Numbers are uvarints inside their
// element, times are nanoseconds since 1970, lists repeat their tag, structures
// nest. Zero values are left out. A reader skips tags that it does not know,
// so that structures can grow.

// ErrMalformed is returned for bytes that are no encoding.
var ErrMalformed = errors.New("event: malformed encoding")

type tag = uint64

func appendBytes(b []byte, t tag, v []byte) []byte {
	b = binary.AppendUvarint(b, t)
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

func appendString(b []byte, t tag, v string) []byte {
	if v == "" {
		return b
	}
	b = binary.AppendUvarint(b, t)
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

func appendStrings(b []byte, t tag, vs []string) []byte {
	for _, v := range vs {
		b = binary.AppendUvarint(b, t)
		b = binary.AppendUvarint(b, uint64(len(v)))
		b = append(b, v...)
	}
	return b
}

func appendUint(b []byte, t tag, v uint64) []byte {
	if v == 0 {
		return b
	}
	var n [binary.MaxVarintLen64]byte
	return appendBytes(b, t, n[:binary.PutUvarint(n[:], v)])
}

func appendTime(b []byte, t tag, v time.Time) []byte {
	if v.IsZero() {
		return b
	}
	// Not appendUint: 1970 began at a time other than the zero one.
	var n [binary.MaxVarintLen64]byte
	return appendBytes(b, t, n[:binary.PutUvarint(n[:], uint64(v.UnixNano()))])
}

func appendBool(b []byte, t tag, v bool) []byte {
	if !v {
		return b
	}
	return appendUint(b, t, 1)
}

// appendNested appends an element whose value is what encode appends.
func appendNested(b []byte, t tag, encode func([]byte) []byte) []byte {
	b = binary.AppendUvarint(b, t)
	// One byte is reserved for the length and the value moved when it
	// needs more, which is rare.
	at := len(b)
	b = encode(append(b, 0))
	n := uint64(len(b) - at - 1)
	if n < 0x80 {
		b[at] = byte(n)
		return b
	}
	var size [binary.MaxVarintLen64]byte
	k := binary.PutUvarint(size[:], n)
	b = append(b, size[:k-1]...)
	copy(b[at+k:], b[at+1:at+1+int(n)])
	copy(b[at:], size[:k])
	return b
}

func appendAttrs(b []byte, t tag, as []Attr) []byte {
	for _, a := range as {
		b = appendNested(b, t, func(b []byte) []byte {
			return appendString(appendString(b, 1, a.Key), 2, a.Value)
		})
	}
	return b
}

// elements calls f for each element of b. Values alias b.
func elements(b []byte, f func(t tag, v []byte) error) error {
	for len(b) > 0 {
		t, n := binary.Uvarint(b)
		if n <= 0 {
			return ErrMalformed
		}
		b = b[n:]
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return ErrMalformed
		}
		if err := f(t, b[n:n+int(size):n+int(size)]); err != nil {
			return err
		}
		b = b[n+int(size):]
	}
	return nil
}

func decodeUint(v []byte, max uint64) (uint64, error) {
	u, n := binary.Uvarint(v)
	if n <= 0 || n != len(v) || u > max {
		return 0, ErrMalformed
	}
	return u, nil
}

func decodeInto[T ~uint8 | ~uint64 | ~int | ~int64](p *T, v []byte, max uint64) error {
	u, err := decodeUint(v, max)
	*p = T(u)
	return err
}

func decodeTime(p *time.Time, v []byte) error {
	u, err := decodeUint(v, math.MaxUint64)
	*p = time.Unix(0, int64(u)).UTC()
	return err
}

func decodeAttr(as *[]Attr, v []byte) error {
	var a Attr
	err := elements(v, func(t tag, v []byte) error {
		switch t {
		case 1:
			a.Key = string(v)
		case 2:
			a.Value = string(v)
		}
		return nil
	})
	*as = append(*as, a)
	return err
}

// Append appends the encoding of p to b.
func (p *Principal) Append(b []byte) []byte {
	b = appendString(b, 1, p.Issuer)
	b = appendString(b, 2, p.Subject)
	b = appendString(b, 3, p.Name)
	b = appendStrings(b, 4, p.Groups)
	return appendTime(b, 5, p.Expires)
}

// Decode sets p from its encoding.
func (p *Principal) Decode(b []byte) error {
	*p = Principal{}
	return wrap("principal", elements(b, func(t tag, v []byte) error {
		switch t {
		case 1:
			p.Issuer = string(v)
		case 2:
			p.Subject = string(v)
		case 3:
			p.Name = string(v)
		case 4:
			p.Groups = append(p.Groups, string(v))
		case 5:
			return decodeTime(&p.Expires, v)
		}
		return nil
	}))
}

// Append appends the encoding of s to b.
func (s *Session) Append(b []byte) []byte {
	b = appendString(b, 1, s.ID)
	b = appendString(b, 2, s.Gate)
	b = appendString(b, 3, s.Protocol)
	b = appendString(b, 4, s.Resource)
	b = appendString(b, 5, s.Policy)
	b = appendNested(b, 6, s.Principal.Append)
	b = appendString(b, 7, s.Client)
	b = appendTime(b, 8, s.Start)
	return appendAttrs(b, 9, s.Attrs)
}

// Decode sets s from its encoding.
func (s *Session) Decode(b []byte) error {
	*s = Session{}
	return wrap("session", elements(b, func(t tag, v []byte) error {
		switch t {
		case 1:
			s.ID = string(v)
		case 2:
			s.Gate = string(v)
		case 3:
			s.Protocol = string(v)
		case 4:
			s.Resource = string(v)
		case 5:
			s.Policy = string(v)
		case 6:
			return s.Principal.Decode(v)
		case 7:
			s.Client = string(v)
		case 8:
			return decodeTime(&s.Start, v)
		case 9:
			return decodeAttr(&s.Attrs, v)
		}
		return nil
	}))
}

// Append appends the encoding of r to b.
func (r *Request) Append(b []byte) []byte {
	b = appendString(b, 1, r.Operation)
	b = appendBytes(b, 2, r.Payload)
	for _, p := range r.Params {
		// A value is prefixed by 1, so that NULL differs from empty.
		if p == nil {
			b = appendBytes(b, 3, nil)
			continue
		}
		b = binary.AppendUvarint(b, 3)
		b = binary.AppendUvarint(b, uint64(len(p)+1))
		b = append(append(b, 1), p...)
	}
	if f := r.Facts(); f != nil {
		b = append(b, f.encodedStatements...)
		b = appendAttrs(b, 5, r.Labels)
		b = append(b, f.encodedAttrs...)
	} else {
		b = appendStatements(b, r.Statements)
		b = appendAttrs(b, 5, r.Labels)
		b = appendAttrs(b, 6, r.Attrs)
	}
	for _, c := range r.Cut {
		b = appendNested(b, 7, func(b []byte) []byte {
			b = appendUint(b, 1, uint64(c.Param))
			b = appendUint(b, 2, c.Size)
			return appendBytes(b, 3, c.Digest[:])
		})
	}
	return appendStrings(b, 8, r.Masked)
}

func appendStatements(b []byte, statements []Statement) []byte {
	for i := range statements {
		b = appendNested(b, 4, statements[i].Append)
	}
	return b
}

// Decode sets r from its encoding. Payload and Params alias b.
func (r *Request) Decode(b []byte) error {
	*r = Request{}
	return wrap("request", elements(b, func(t tag, v []byte) error {
		switch t {
		case 1:
			r.Operation = string(v)
		case 2:
			r.Payload = v
		case 3:
			if len(v) == 0 {
				r.Params = append(r.Params, nil)
				break
			}
			r.Params = append(r.Params, v[1:])
		case 4:
			r.Statements = append(r.Statements, Statement{})
			return r.Statements[len(r.Statements)-1].Decode(v)
		case 5:
			return decodeAttr(&r.Labels, v)
		case 6:
			return decodeAttr(&r.Attrs, v)
		case 7:
			return decodeCut(&r.Cut, v)
		case 8:
			r.Masked = append(r.Masked, string(v))
		}
		return nil
	}))
}

func decodeCut(cs *[]Cut, v []byte) error {
	var c Cut
	err := elements(v, func(t tag, v []byte) (err error) {
		switch t {
		case 1:
			err = decodeInto(&c.Param, v, math.MaxInt32)
		case 2:
			c.Size, err = decodeUint(v, math.MaxInt64)
		case 3:
			if copy(c.Digest[:], v) != len(v) {
				err = ErrMalformed
			}
		}
		return err
	})
	*cs = append(*cs, c)
	return err
}

// Append appends the encoding of p to b.
func (p *Parameter) Append(b []byte) []byte {
	b = appendUint(b, 1, uint64(p.Param))
	return appendBytes(b, 2, p.Part)
}

// Decode sets p from its encoding. Part aliases b.
func (p *Parameter) Decode(b []byte) error {
	*p = Parameter{}
	return wrap("parameter", elements(b, func(t tag, v []byte) error {
		switch t {
		case 1:
			return decodeInto(&p.Param, v, math.MaxInt32)
		case 2:
			p.Part = v
		}
		return nil
	}))
}

func appendObjects(b []byte, t tag, os []Object) []byte {
	for _, o := range os {
		b = appendNested(b, t, func(b []byte) []byte {
			return appendString(appendString(b, 1, o.Schema), 2, o.Name)
		})
	}
	return b
}

func decodeObject(os *[]Object, v []byte) error {
	var a []Attr
	err := decodeAttr(&a, v)
	*os = append(*os, Object{a[0].Key, a[0].Value})
	return err
}

// Append appends the encoding of s to b.
func (s *Statement) Append(b []byte) []byte {
	b = appendString(b, 1, s.Kind)
	b = appendUint(b, 2, uint64(s.Parent+1))
	b = appendString(b, 3, s.Within)
	b = appendBool(b, 4, s.Runs)
	b = appendObjects(b, 5, s.Writes)
	b = appendObjects(b, 6, s.Reads)
	b = appendStrings(b, 7, s.Columns)
	b = appendStrings(b, 8, s.Functions)
	b = appendStrings(b, 9, s.Settings)
	b = appendStrings(b, 10, s.Names)
	b = appendStrings(b, 11, s.Options)
	b = appendUint(b, 12, uint64(s.Scope))
	b = appendBool(b, 13, s.Opaque)
	b = appendStrings(b, 14, s.Operators)
	b = appendStrings(b, 15, s.Types)
	return appendStrings(b, 16, s.Predicates)
}

// Decode sets s from its encoding.
func (s *Statement) Decode(b []byte) error {
	*s = Statement{Parent: -1}
	return wrap("statement", elements(b, func(t tag, v []byte) error {
		switch t {
		case 1:
			s.Kind = string(v)
		case 2:
			err := decodeInto(&s.Parent, v, math.MaxInt32)
			s.Parent--
			return err
		case 3:
			s.Within = string(v)
		case 4:
			s.Runs = true
		case 5:
			return decodeObject(&s.Writes, v)
		case 6:
			return decodeObject(&s.Reads, v)
		case 7:
			s.Columns = append(s.Columns, string(v))
		case 8:
			s.Functions = append(s.Functions, string(v))
		case 9:
			s.Settings = append(s.Settings, string(v))
		case 10:
			s.Names = append(s.Names, string(v))
		case 11:
			s.Options = append(s.Options, string(v))
		case 12:
			return decodeInto(&s.Scope, v, uint64(ScopeRestricted))
		case 13:
			s.Opaque = true
		case 14:
			s.Operators = append(s.Operators, string(v))
		case 15:
			s.Types = append(s.Types, string(v))
		case 16:
			s.Predicates = append(s.Predicates, string(v))
		}
		return nil
	}))
}

// Append appends the encoding of h to b.
func (h *Head) Append(b []byte) []byte {
	for i := range h.Fields {
		f := &h.Fields[i]
		b = appendNested(b, 1, func(b []byte) []byte {
			b = appendString(b, 1, f.Name)
			b = appendString(b, 2, f.Type)
			b = appendStrings(b, 3, f.Origins)
			b = appendUint(b, 4, uint64(f.Lineage))
			return appendString(b, 5, f.Why)
		})
	}
	return appendAttrs(b, 2, h.Attrs)
}

// Decode sets h from its encoding.
func (h *Head) Decode(b []byte) error {
	*h = Head{}
	return wrap("head", elements(b, func(t tag, v []byte) error {
		switch t {
		case 1:
			var f Field
			err := elements(v, func(t tag, v []byte) error {
				switch t {
				case 1:
					f.Name = string(v)
				case 2:
					f.Type = string(v)
				case 3:
					f.Origins = append(f.Origins, string(v))
				case 4:
					return decodeInto(&f.Lineage, v, uint64(LineageClean))
				case 5:
					f.Why = string(v)
				}
				return nil
			})
			h.Fields = append(h.Fields, f)
			return err
		case 2:
			return decodeAttr(&h.Attrs, v)
		}
		return nil
	}))
}

// Append appends the encoding of o to b.
func (o *Outcome) Append(b []byte) []byte {
	b = appendString(b, 1, o.Status)
	b = appendString(b, 2, o.Tag)
	b = appendString(b, 3, o.Code)
	return appendUint(b, 4, uint64(o.Rows))
}

// Decode sets o from its encoding.
func (o *Outcome) Decode(b []byte) error {
	*o = Outcome{}
	return wrap("outcome", elements(b, func(t tag, v []byte) error {
		switch t {
		case 1:
			o.Status = string(v)
		case 2:
			o.Tag = string(v)
		case 3:
			o.Code = string(v)
		case 4:
			return decodeInto(&o.Rows, v, math.MaxInt64)
		}
		return nil
	}))
}

// Append appends the encoding of v to b. The action is always there.
func (v *Verdict) Append(b []byte) []byte {
	b = appendBytes(b, 1, []byte{byte(v.Action)})
	b = appendString(b, 2, v.Rule)
	b = appendString(b, 3, v.Reason)
	return appendAttrs(b, 4, v.Labels)
}

// Decode sets v from its encoding. An unknown action is malformed.
func (v *Verdict) Decode(b []byte) error {
	*v = Verdict{}
	err := elements(b, func(t tag, e []byte) error {
		switch t {
		case 1:
			return decodeInto(&v.Action, e, uint64(Allow))
		case 2:
			v.Rule = string(e)
		case 3:
			v.Reason = string(e)
		case 4:
			return decodeAttr(&v.Labels, e)
		}
		return nil
	})
	if err != nil {
		*v = Verdict{}
	}
	return wrap("verdict", err)
}

// AppendTreatments appends the encoding of ts, one for each field, to b.
func AppendTreatments(b []byte, ts []Treatment) []byte {
	for i := range ts {
		t := &ts[i]
		b = appendNested(b, 1, func(b []byte) []byte {
			b = appendBytes(b, 1, []byte{byte(t.Kind)})
			b = appendUint(b, 2, uint64(t.Keep))
			b = appendString(b, 3, t.Rule)
			for _, d := range t.Detect {
				b = appendNested(b, 4, func(b []byte) []byte {
					b = appendString(b, 1, d.Detector)
					b = appendBytes(b, 2, []byte{byte(d.Kind)})
					return appendUint(b, 3, uint64(d.Keep))
				})
			}
			return b
		})
	}
	return b
}

// DecodeTreatments returns the treatments encoded in b.
func DecodeTreatments(b []byte) ([]Treatment, error) {
	var ts []Treatment
	err := elements(b, func(t tag, v []byte) error {
		if t != 1 {
			return nil
		}
		var x Treatment
		err := elements(v, func(t tag, v []byte) error {
			switch t {
			case 1:
				return decodeInto(&x.Kind, v, uint64(Detect))
			case 2:
				return decodeInto(&x.Keep, v, math.MaxUint8)
			case 3:
				x.Rule = string(v)
			case 4:
				return decodeDetection(&x.Detect, v)
			}
			return nil
		})
		ts = append(ts, x)
		return err
	})
	if err != nil {
		return nil, wrap("treatments", err)
	}
	return ts, nil
}

func decodeDetection(ds *[]Detection, v []byte) error {
	var d Detection
	err := elements(v, func(t tag, v []byte) error {
		switch t {
		case 1:
			d.Detector = string(v)
		case 2:
			return decodeInto(&d.Kind, v, uint64(Detect))
		case 3:
			return decodeInto(&d.Keep, v, math.MaxUint8)
		}
		return nil
	})
	*ds = append(*ds, d)
	return err
}

// AppendDetectors appends the encoding of ds to b.
func AppendDetectors(b []byte, ds []Detector) []byte {
	for _, d := range ds {
		b = appendNested(b, 1, func(b []byte) []byte {
			return appendString(appendString(b, 1, d.Name), 2, d.Pattern)
		})
	}
	return b
}

// DecodeDetectors returns the detectors encoded in b.
func DecodeDetectors(b []byte) ([]Detector, error) {
	var ds []Detector
	err := elements(b, func(t tag, v []byte) error {
		if t != 1 {
			return nil
		}
		var a []Attr
		err := decodeAttr(&a, v)
		ds = append(ds, Detector{a[0].Key, a[0].Value})
		return err
	})
	if err != nil {
		return nil, wrap("detectors", err)
	}
	return ds, nil
}

// Append appends the encoding of n to b.
func (n *Note) Append(b []byte) []byte {
	b = appendString(b, 1, n.Text)
	return appendAttrs(b, 2, n.Labels)
}

// Decode sets n from its encoding.
func (n *Note) Decode(b []byte) error {
	*n = Note{}
	return wrap("note", elements(b, func(t tag, v []byte) error {
		switch t {
		case 1:
			n.Text = string(v)
		case 2:
			return decodeAttr(&n.Labels, v)
		}
		return nil
	}))
}

// Append appends the encoding of d to b.
func (d *Decision) Append(b []byte) []byte {
	b = appendBool(b, 1, d.Approved)
	b = appendNested(b, 2, d.By.Append)
	b = appendString(b, 3, d.Comment)
	return appendTime(b, 4, d.At)
}

// Decode sets d from its encoding.
func (d *Decision) Decode(b []byte) error {
	*d = Decision{}
	return wrap("decision", elements(b, func(t tag, v []byte) error {
		switch t {
		case 1:
			d.Approved = true
		case 2:
			return d.By.Decode(v)
		case 3:
			d.Comment = string(v)
		case 4:
			return decodeTime(&d.At, v)
		}
		return nil
	}))
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("decode %s: %w", what, err)
}
