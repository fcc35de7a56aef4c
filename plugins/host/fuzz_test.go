package host

import (
	"testing"
	"unicode/utf8"

	"gatehouse/core/detect"
	"gatehouse/core/event"
)

// Whatever a guest answers, what the host takes of it is within the limits and
// can be shown.
func FuzzAnswers(f *testing.F) {
	f.Add(event.AppendSection(nil, event.SectionVerdict, (&event.Verdict{Rule: "r", Reason: "x\x00", Labels: []event.Attr{{Key: "k"}}}).Append(nil)))
	f.Add(event.AppendSection(nil, event.SectionNote, (&event.Note{Text: "x\xff", Labels: []event.Attr{{Value: "v"}}}).Append(nil)))
	f.Add(event.AppendSection(nil, event.SectionTreatments, event.AppendTreatments(nil, []event.Treatment{{Kind: event.Inspect}, {Kind: event.Detect, Detect: []event.Detection{{Detector: "email"}}}})))
	f.Add(event.AppendSection(nil, event.SectionDetectors, event.AppendDetectors(nil, []event.Detector{{Name: "a", Pattern: "x+"}})))
	head := &event.Head{Fields: []event.Field{{Type: "text"}, {Type: "uuid"}}}
	p := new(Plugin)
	p.uses[hookRows] = true
	f.Fuzz(func(t *testing.T, b []byte) {
		var m event.Message
		if m.Decode(b) != nil {
			return
		}
		show := func(texts ...string) {
			for _, s := range texts {
				if !utf8.ValidString(s) || clean(s) != s {
					t.Errorf("%q is not clean", s)
				}
			}
		}
		labels := func(labels []event.Attr) {
			if len(labels) > maxLabels {
				t.Errorf("%d labels", len(labels))
			}
			for _, l := range labels {
				show(l.Key, l.Value)
			}
		}
		if v, err := decodeVerdict(&m); err == nil {
			show(v.Rule, v.Reason)
			labels(v.Labels)
		}
		var n event.Note
		if n.Decode(m.Section(event.SectionNote)) == nil && checkNote(&n) == nil {
			show(n.Text)
			labels(n.Labels)
		}
		if ts, err := event.DecodeTreatments(m.Section(event.SectionTreatments)); err == nil && p.checkTreatments(ts, head) == nil {
			if len(ts) != len(head.Fields) || ts[0].Kind == event.Replace || ts[1].Kind == event.Replace {
				t.Errorf("%+v", ts)
			}
		}
		if ds, err := event.DecodeDetectors(m.Section(event.SectionDetectors)); err == nil && len(ds) <= maxDetectors {
			if s, err := detect.New(ds); err == nil {
				for _, d := range ds {
					if !s.Has(d.Name) {
						t.Errorf("%q is not there", d.Name)
					}
				}
			}
		}
	})
}

// Instances of a module that say different things of themselves are not used
// together.
func TestSame(t *testing.T) {
	p := &Plugin{finds: []event.Detector{{Name: "a", Pattern: "x"}}}
	good := &instance{finds: []event.Detector{{Name: "a", Pattern: "x"}}}
	if err := p.same(good); err != nil {
		t.Error(err)
	}
	for _, in := range []*instance{{}, {finds: []event.Detector{{Name: "a", Pattern: "y"}}}, {finds: good.finds, factsOnly: true}} {
		if p.same(in) == nil {
			t.Errorf("%+v is taken for the same", in)
		}
	}
}
