package recorder

import (
	"errors"
	"fmt"
	"iter"
	"time"

	"gatehouse/core/event"
)

// A Decoder reads rows back out of one protocol's bytes. It serves one session
// and is not safe for concurrent use. What it is given comes from a recording
// and is hostile: it bounds what it allocates and returns errors, never panics.
type Decoder interface {
	// Decode is given every frame of the session, in order, and calls emit
	// for what the frame's payload holds. Frames of kind KindData carry the
	// bytes that the client got: of the exchange f.Exchange, or of none if
	// that is zero. Those of KindUpload carry the bytes of data that it sent
	// for its request. One protocol message may begin in one data frame and
	// end in the next of the same kind and exchange, so the decoder keeps
	// what it could not finish. Other frames (KindRequest, KindHead) are there to learn
	// from: which fields and formats the rows have. Emit's errors are
	// returned as they are. The frame's payload is valid until Decode
	// returns.
	Decode(f *event.Frame, emit func(Part) error) error
}

// A Part is a piece of a response or of an upload, as read by a Decoder. Exactly one field is
// set. It is valid until emit returns.
type Part struct {
	// Fields begins a result: the columns of the rows that follow.
	Fields []event.Field
	// Row is one row: a text for each field, nil for NULL. A row without
	// fields is empty, not nil. Of a row of many megabytes it is the
	// beginnings of the values, each with its size at its end.
	Row [][]byte
	// Message is something else that the client was told: Code is the
	// protocol's name for it ("error", "notice", "parameter"), Text what a
	// person should read, Attrs the details.
	Message *event.Notice
}

// Decoders are the decoders of each protocol, by event.Session.Protocol. Each
// call makes one for a session.
type Decoders map[string]func() Decoder

// An Entry is one line of a transcript: something that happened in a session.
// Kind says what, and which of the fields is set. Its memory is valid until
// the next step of the iteration.
type Entry struct {
	Kind     event.Kind
	Exchange uint64 // zero for what concerns the session as a whole
	Time     time.Time

	Session    *event.Session    // KindOpen
	Request    *event.Request    // KindRequest
	Parameter  *event.Parameter  // KindParameter
	Verdict    *event.Verdict    // KindVerdict
	Decision   *event.Decision   // KindDecision
	Head       *event.Head       // KindHead
	Treatments []event.Treatment // KindPlan
	Part       *Part             // KindData and KindUpload, decoded
	Raw        []byte            // the same of a protocol without a decoder
	Outcome    *event.Outcome    // KindOutcome
	Notice     *event.Notice     // KindPending, KindNotice, KindClose
}

// Transcript turns the frames of one session into what happened in it, in the
// order in which it was recorded: requests of a pipeline come before the
// responses to those ahead of them. A frame that cannot be decoded ends the
// iteration with an error; frames of kinds that it does not know are passed
// over.
func Transcript(frames iter.Seq2[event.Frame, error], decoders Decoders) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var d Decoder
		for f, err := range frames {
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if isData(f.Kind) && d != nil {
				if !decodeData(d, &f, yield) {
					return
				}
				continue
			}
			e, err := newEntry(&f)
			if err != nil {
				yield(Entry{}, fmt.Errorf("transcript: %w", err))
				return
			}
			if e.Session != nil && decoders[e.Session.Protocol] != nil {
				d = decoders[e.Session.Protocol]()
			}
			if d != nil {
				if err := d.Decode(&f, func(Part) error { return nil }); err != nil {
					yield(Entry{}, fmt.Errorf("transcript: %w", err))
					return
				}
			}
			if e.known() && !yield(e, nil) {
				return
			}
		}
	}
}

// decodeData yields the parts of a data frame and reports whether to go on.
func decodeData(d Decoder, f *event.Frame, yield func(Entry, error) bool) bool {
	stopped := false
	err := d.Decode(f, func(p Part) error {
		if !yield(Entry{Kind: f.Kind, Exchange: f.Exchange, Time: f.Time, Part: &p}, nil) {
			stopped = true
			return errStop
		}
		return nil
	})
	if stopped {
		return false
	}
	if err != nil {
		yield(Entry{}, fmt.Errorf("transcript: decode data of exchange %d: %w", f.Exchange, err))
		return false
	}
	return true
}

var errStop = errors.New("the reader has stopped")

func newEntry(f *event.Frame) (Entry, error) {
	e := Entry{Kind: f.Kind, Exchange: f.Exchange, Time: f.Time}
	var err error
	switch f.Kind {
	case event.KindOpen:
		e.Session = new(event.Session)
		err = e.Session.Decode(f.Payload)
	case event.KindRequest:
		e.Request = new(event.Request)
		err = e.Request.Decode(f.Payload)
	case event.KindParameter:
		e.Parameter = new(event.Parameter)
		err = e.Parameter.Decode(f.Payload)
	case event.KindVerdict:
		e.Verdict = new(event.Verdict)
		err = e.Verdict.Decode(f.Payload)
	case event.KindDecision:
		e.Decision = new(event.Decision)
		err = e.Decision.Decode(f.Payload)
	case event.KindHead:
		e.Head = new(event.Head)
		err = e.Head.Decode(f.Payload)
	case event.KindPlan:
		e.Treatments, err = event.DecodeTreatments(f.Payload)
	case event.KindData, event.KindUpload:
		e.Raw = f.Payload
	case event.KindOutcome:
		e.Outcome = new(event.Outcome)
		err = e.Outcome.Decode(f.Payload)
	case event.KindPending, event.KindNotice, event.KindClose:
		e.Notice = new(event.Notice)
		err = e.Notice.Decode(f.Payload)
	}
	return e, err
}

func (e *Entry) known() bool { return e.Kind >= event.KindOpen && e.Kind <= event.KindUpload }

// isData reports whether frames of kind k hold a protocol's own bytes.
func isData(k event.Kind) bool { return k == event.KindData || k == event.KindUpload }
