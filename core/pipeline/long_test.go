package pipeline_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"gatehouse/core/event"
)

// Whatever a value is, and however it is cut into parts, what Long makes of it
// is what Rows does.
func TestLongValuesAreTreatedAsOthersAre(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	alphabet := []string{"a", "*", "é", "漢", "😀", "\xff", "\xe6", "\xbc", "\xf0\x9f", "\x00", `"`, "\u2028"}
	for range 5000 {
		var b strings.Builder
		for range random.IntN(40) {
			b.WriteString(alphabet[random.IntN(len(alphabet))])
		}
		v := b.String()
		how := event.Treatment{Kind: event.TreatmentKind(random.IntN(int(event.KeepLast) + 1)), Keep: uint8(random.IntN(12))}
		want, err := treated(t, masker{treatments: []event.Treatment{how}}, v)
		if err != nil {
			t.Fatal(err)
		}
		x := open(t, &memory{}, nil, masker{treatments: []event.Treatment{how}}).Begin(t.Context(), &event.Request{})
		if err := x.Head(t.Context(), &event.Head{Fields: []event.Field{{Type: "text"}}}); err != nil {
			t.Fatal(err)
		}
		got := "NULL"
		if l := x.Long(0); l != nil {
			var out []byte
			for rest := v; rest != ""; {
				n := 1 + random.IntN(len(rest))
				out = l.Append(out, []byte(rest[:n]))
				rest = rest[n:]
			}
			if out, err = l.End(out); err != nil {
				t.Fatal(err)
			}
			got = string(out)
		}
		if got != want[0] {
			t.Fatalf("%v of %q in parts is %q, at once %q", how, v, got, want[0])
		}
		if how.Kind == event.KeepLast && utf8.RuneCountInString(v) > 0 && !strings.HasPrefix(got, "*") {
			t.Fatalf("%v of %q is %q", how, v, got)
		}
	}
}

// What is too long to be inspected is redacted, and the recording says so.
func TestValuesTooLongToBeInspectedAreRedacted(t *testing.T) {
	rec := &memory{}
	x := open(t, rec, nil, masker{treatments: []event.Treatment{{Kind: event.Inspect}}}).Begin(t.Context(), &event.Request{})
	if err := x.Head(t.Context(), &event.Head{Fields: []event.Field{{Name: "note", Type: "text"}}}); err != nil {
		t.Fatal(err)
	}
	l := x.Long(0)
	got, err := l.End(l.Append(nil, []byte("secret!")))
	if err != nil || string(got) != "[redacted]" {
		t.Errorf("it became %q, %v", got, err)
	}
	var n event.Notice
	last := rec.frames[len(rec.frames)-1]
	if last.Kind != event.KindNotice || last.Exchange != x.ID || n.Decode(last.Payload) != nil || n.Code != "redacted" || !strings.Contains(n.Text, `"note", of 7 bytes`) {
		t.Errorf("recorded kind %d: %+v", last.Kind, n)
	}
}
