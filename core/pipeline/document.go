package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"gatehouse/core/event"
	"gatehouse/core/protect"
)

// Documents is the masker of what is protected within JSON documents.
type documents struct {
	protected *protect.Columns
	key       []byte
}

// Treat asks for the fields that are documents with protected parts.
func (d documents) Treat(_ context.Context, _ *event.Session, h *event.Head) ([]event.Treatment, error) {
	ts := make([]event.Treatment, len(h.Fields))
	for j := range h.Fields {
		ts[j].Kind = event.Pass
		if parts := d.protected.Parts(&h.Fields[j]); len(parts) > 0 {
			ts[j] = event.Treatment{Kind: event.Inspect, Rule: parts[0].Treatment.Rule}
		}
	}
	return ts, nil
}

// Inspect replaces the protected parts of the documents in fields. What is no
// document is replaced as a whole.
func (d documents) Inspect(_ context.Context, _ *event.Session, rows *event.Rows, fields []int) ([]event.Edit, error) {
	var edits []event.Edit
	parts := make([][]protect.Part, len(fields))
	for k, j := range fields {
		parts[k] = d.protected.Parts(&rows.Fields[j])
	}
	for i := range rows.Len() {
		for k, j := range fields {
			text := rows.Cell(i, j)
			if text == nil {
				continue
			}
			w := docWalker{documents: d, text: text, parts: parts[k], dec: json.NewDecoder(bytes.NewReader(text))}
			w.dec.UseNumber()
			err := w.value(nil)
			if err == nil && len(bytes.Trim(text[w.dec.InputOffset():], " \t\r\n")) > 0 {
				err = errNoDocument
			}
			if err != nil {
				w.edits = []event.Edit{{To: len(text), Treatment: event.Treatment{Kind: event.Replace}, Text: []byte(`"[redacted]"`)}}
			}
			for _, e := range w.edits {
				e.Row, e.Field = i, j
				edits = append(edits, e)
			}
		}
	}
	return edits, nil
}

var errNoDocument = errors.New("no JSON document")

// maxNesting is how deep the values of a document may lie.
const maxNesting = 1000

// A docWalker walks through one document.
type docWalker struct {
	documents
	text  []byte
	dec   *json.Decoder
	parts []protect.Part
	edits []event.Edit
	at    protect.Place
}

// value takes the next value. With how it is within one that is protected.
func (w *docWalker) value(how *event.Treatment) error {
	from := int(w.dec.InputOffset())
	for from < len(w.text) && bytes.IndexByte([]byte(" \t\r\n,:"), w.text[from]) >= 0 {
		from++
	}
	for i := 0; i < len(w.parts) && how == nil; i++ {
		if w.parts[i].Path.Selects(w.at) {
			how = &w.parts[i].Treatment
		}
	}
	token, err := w.dec.Token()
	if err != nil {
		return err
	}
	before := len(w.edits)
	open, isContainer := token.(json.Delim)
	if isContainer {
		if err := w.container(open, how); err != nil {
			return err
		}
	}
	if how == nil || token == nil || isContainer && how.Kind == event.Fake {
		return nil // NULL stays, and the parts of a container were faked
	}
	w.edits = append(w.edits[:before], event.Edit{
		From: from, To: int(w.dec.InputOffset()), Treatment: event.Treatment{Kind: event.Replace}, Text: w.mask(token, *how),
	})
	return nil
}

// container takes what is in an object or an array.
func (w *docWalker) container(open json.Delim, how *event.Treatment) error {
	if len(w.at) == maxNesting || open != '{' && open != '[' {
		return errNoDocument
	}
	w.at = append(w.at, protect.Element)
	for w.dec.More() {
		if open == '{' {
			key, err := w.dec.Token()
			if err != nil {
				return err
			}
			w.at[len(w.at)-1], _ = key.(string)
		}
		if err := w.value(how); err != nil {
			return err
		}
	}
	w.at = w.at[:len(w.at)-1]
	_, err := w.dec.Token()
	return err
}

// mask returns what takes the place of a value, which stays of its kind.
func (w *docWalker) mask(token json.Token, how event.Treatment) []byte {
	if how.Kind == event.Null {
		return []byte("null")
	}
	switch v := token.(type) {
	case string:
		b, _ := json.Marshal(string(new(plan).treat(how, nil, []byte(v), "text", w.key))) // a string always has a JSON form
		return b
	case json.Number:
		if how.Kind == event.Fake {
			if b := appendFake(nil, "numeric", []byte(v), w.key); json.Valid(b) {
				return b
			}
		}
		return []byte("0")
	case json.Delim:
		return []byte{byte(v), byte(v) + 2} // {} or []
	}
	return []byte("false")
}
