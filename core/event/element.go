package event

import "time"

// The functions below give other packages the element encoding of this one for
// structures of their own.

// AppendElement appends one element to b.
func AppendElement(b []byte, tag uint64, v []byte) []byte { return appendBytes(b, tag, v) }

// AppendUint appends v as an element, unless it is zero.
func AppendUint(b []byte, tag, v uint64) []byte { return appendUint(b, tag, v) }

// AppendTime appends v as an element, unless it is zero.
func AppendTime(b []byte, tag uint64, v time.Time) []byte { return appendTime(b, tag, v) }

// Elements calls f for each element of b, in order. Values alias b.
func Elements(b []byte, f func(tag uint64, v []byte) error) error { return elements(b, f) }

// DecodeUint returns the number in an element's value. More than max is
// malformed.
func DecodeUint(v []byte, max uint64) (uint64, error) { return decodeUint(v, max) }

// DecodeTime returns the time in an element's value.
func DecodeTime(v []byte) (t time.Time, err error) {
	err = decodeTime(&t, v)
	return t, err
}
