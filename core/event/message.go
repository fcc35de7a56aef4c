package event

import (
	"encoding/binary"
	"fmt"
)

// A Section is a part of a message, which is what crosses between the gate and
// a plugin. A message is a sequence of sections: a tag (u32), a length (u32) and
// that many bytes, padded with zeros to a multiple of four. Each is there at most
// once, and a reader skips those that it does not know. sdk/ABI.md specifies
// which message has which, and what is in it.
type Section uint32

// The sections of inputs, then those of answers.
const (
	SectionSession Section = 1 + iota
	SectionState
	SectionRequest
	SectionHead
	SectionOutcome
	SectionConfig
	SectionHost
	SectionShape
	SectionOffsets
	SectionNulls
	SectionValues
	endInputs
)

// The sections of answers.
const (
	SectionProblem Section = 32 + iota
	SectionDetectors
	SectionVerdict
	SectionTreatments
	SectionEdits
	SectionTexts
	SectionNote
	endAnswers
)

// sectionHeader is the size of a section's tag and length.
const sectionHeader = 8

// SizeSection is how many bytes a section with n bytes of contents takes.
func SizeSection(n int) int { return sectionHeader + align4(n) }

// BeginSection appends the header of a section, whose contents the caller
// appends next, and returns where it is, for EndSection.
func BeginSection(b []byte, s Section) (_ []byte, at int) {
	at = len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(s))
	return binary.LittleEndian.AppendUint32(b, 0), at
}

// EndSection ends the section whose header is at at.
func EndSection(b []byte, at int) []byte {
	n := len(b) - at - sectionHeader
	binary.LittleEndian.PutUint32(b[at+4:], uint32(n))
	for ; n%4 != 0; n++ {
		b = append(b, 0)
	}
	return b
}

// AppendSection appends a section with the contents v.
func AppendSection(b []byte, s Section, v []byte) []byte {
	b, at := BeginSection(b, s)
	return EndSection(append(b, v...), at)
}

// A Message is a decoded message: the contents of the sections that it has.
type Message [int(endInputs) + int(endAnswers-SectionProblem)][]byte

func (s Section) index() int {
	switch {
	case s > 0 && s < endInputs:
		return int(s)
	case s >= SectionProblem && s < endAnswers:
		return int(s-SectionProblem) + int(endInputs)
	}
	return 0 // unknown
}

// Decode sets m from its encoding, which it aliases.
func (m *Message) Decode(b []byte) error {
	clear(m[:])
	for len(b) > 0 {
		if len(b) < sectionHeader {
			return fmt.Errorf("decode message: section cut off: %w", ErrMalformed)
		}
		s, n := Section(binary.LittleEndian.Uint32(b)), uint64(binary.LittleEndian.Uint32(b[4:]))
		b = b[sectionHeader:]
		padded := (n + 3) &^ 3
		if padded > uint64(len(b)) {
			return fmt.Errorf("decode message: section %d of %d bytes cut off: %w", s, n, ErrMalformed)
		}
		for _, c := range b[n:padded] {
			if c != 0 {
				return fmt.Errorf("decode message: section %d is not padded with zeros: %w", s, ErrMalformed)
			}
		}
		if i := s.index(); i != 0 {
			if m[i] != nil {
				return fmt.Errorf("decode message: section %d is there twice: %w", s, ErrMalformed)
			}
			m[i] = b[:n:n]
		}
		b = b[padded:]
	}
	return nil
}

// Section returns the contents of s, or nil where there is none.
func (m *Message) Section(s Section) []byte { return m[s.index()] }
