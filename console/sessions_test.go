package console_test

import (
	"archive/tar"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"gatehouse/console"
)

func TestSessionsAreForAuditors(t *testing.T) {
	g := newGate(t)
	for _, path := range []string{"/api/sessions", "/api/sessions/01C", "/api/sessions/01C/recording"} {
		for who, want := range map[string]int{"alice": 200, "carol": 200, "bob": 403, "agent": 403, "mallory": 401} {
			res := g.send("GET", path, "", map[string]string{"Cookie": "who=" + who})
			if res.StatusCode != want {
				t.Errorf("GET %s of %s: %s, want %d", path, who, res.Status, want)
			}
			if want != 200 {
				problem(t, res)
			}
		}
	}
}

func TestListSessions(t *testing.T) {
	g := newGate(t)
	for query, want := range map[string]string{
		"":                           "01C 01B 01A",
		"?limit=2":                   "01C 01B next 01B",
		"?limit=2&before=01B":        "01A",
		"?limit=3":                   "01C 01B 01A",
		"?resource=orders":           "01C 01B 01A",
		"?resource=order":            "",
		"?who=REPORTING":             "01C 01B 01A",
		"?who=alice":                 "",
		"?from=2026-11-22T00:00:00Z": "01C 01B",
		"?to=2026-11-22T00:00:00Z":   "01A",
	} {
		var page console.SessionPage
		g.get("/api/sessions"+query, "carol", &page)
		var got []string
		for _, s := range page.Sessions {
			got = append(got, s.ID)
		}
		if page.Next != "" {
			got = append(got, "next", page.Next)
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s: %s, want %s", query, s, want)
		}
	}
	for _, query := range []string{"?limit=0", "?limit=1000000", "?limit=x", "?from=yesterday", "?to=1"} {
		res := g.send("GET", "/api/sessions"+query, "", nil)
		if problem(t, res); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", query, res.Status)
		}
	}
}

func TestSession(t *testing.T) {
	g := newGate(t)
	var v console.SessionView
	g.get("/api/sessions/01C", "carol", &v)
	if diff := cmp.Diff(console.Totals{Exchanges: 4, Blocked: 1, Held: 1, Rows: 1204}, v.Totals); diff != "" {
		t.Error(diff)
	}
	if v.Session.ID != "01C" || v.Session.Why != "the client said good-bye" || v.Session.End.IsZero() || v.Broken || len(v.Exchanges) != 4 {
		t.Fatalf("session: %+v, %d exchanges", v.Session, len(v.Exchanges))
	}
	masked := v.Exchanges[0]
	r := masked.Results[0]
	if len(masked.Results) != 1 || r.Total != 4 || len(r.Rows) != 4 || r.Rows[0][3].Head != "************4242" || r.Rows[3][3] != nil {
		t.Errorf("rows: %+v", masked.Results)
	}
	field := console.FieldView{Name: "card", Type: "text", Origins: []string{"public.customers.card"}, Lineage: "exact", Treatment: "keep last 4", Rule: "mask/public.customers.card"}
	if diff := cmp.Diff(field, r.Fields[3]); diff != "" {
		t.Error(diff)
	}
	var treatments []string
	for _, f := range r.Fields {
		treatments = append(treatments, f.Treatment)
	}
	if diff := cmp.Diff([]string{"", "search", "hash", "keep last 4", "redact"}, treatments); diff != "" {
		t.Error(diff)
	}
	if m := masked.Messages; len(m) != 1 || m[0].Code != "shadow" || m[0].Plugin != "volume" || m[0].Text.Head != "would hold: personal data by the thousand" {
		t.Errorf("of a plugin in shadow: %+v", m)
	}
	blocked := v.Exchanges[1]
	if blocked.Verdicts[0].Action != "block" || blocked.Verdicts[0].Rule != "guard/destruction" || blocked.Outcomes[0].Code != "42501" {
		t.Errorf("blocked: %+v", blocked)
	}
	held := v.Exchanges[2]
	if held.Pending != "K7QF2MZX" || len(held.Verdicts) != 2 || len(held.Decisions) != 1 ||
		!held.Decisions[0].Approved || held.Decisions[0].By != "alice@example.com" || held.Params[0].Head != "Göteborg" {
		t.Errorf("held: %+v", held)
	}
	if r := v.Exchanges[3].Results[0]; r.Total != 1200 || len(r.Rows) >= 1200 {
		t.Errorf("%d of %d rows on the page", len(r.Rows), r.Total)
	}
}

func TestSessionPages(t *testing.T) {
	g := newGate(t)
	var seen []uint64
	var after uint64
	for {
		var v console.SessionView
		g.get("/api/sessions/01C?limit=3&after="+strconv.FormatUint(after, 10), "carol", &v)
		for _, x := range v.Exchanges {
			seen = append(seen, x.ID)
		}
		if v.Totals.Exchanges != 4 {
			t.Errorf("totals of the page after %d: %+v", after, v.Totals)
		}
		if after = v.Next; after == 0 {
			break
		}
	}
	if diff := cmp.Diff([]uint64{1, 2, 3, 4}, seen); diff != "" {
		t.Error(diff)
	}
	var rows []string
	for len(rows) < 1200 {
		var v console.SessionView
		g.get("/api/sessions/01C?exchange=4&rows="+strconv.Itoa(len(rows)), "carol", &v)
		if len(v.Exchanges) != 1 || v.Exchanges[0].ID != 4 {
			t.Fatalf("exchanges: %+v", v.Exchanges)
		}
		r := v.Exchanges[0].Results[0]
		if r.From != len(rows) || len(r.Rows) == 0 {
			t.Fatalf("%d rows from %d, want some from %d", len(r.Rows), r.From, len(rows))
		}
		for _, row := range r.Rows {
			rows = append(rows, row[0].Head)
		}
	}
	for i, v := range rows {
		if v != strconv.Itoa(i+1) {
			t.Fatalf("row %d is %s", i, v)
		}
	}
}

func TestBrokenSession(t *testing.T) {
	g := newGate(t)
	var v console.SessionView
	g.get("/api/sessions/01B", "carol", &v)
	if !v.Broken || len(v.Exchanges) != 4 {
		t.Errorf("broken: %v, %d exchanges", v.Broken, len(v.Exchanges))
	}
	for _, path := range []string{"/api/sessions/none", "/api/sessions/none/recording"} {
		res := g.send("GET", path, "", nil)
		if problem(t, res); res.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, res.Status)
		}
	}
	for _, query := range []string{"?after=-1", "?limit=x", "?rows=x", "?exchange=0"} {
		if res := g.send("GET", "/api/sessions/01C"+query, "", nil); res.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", query, res.Status)
		}
	}
}

func TestRecording(t *testing.T) {
	g := newGate(t)
	res := g.send("GET", "/api/sessions/01C/recording", "", nil)
	if got := res.Header.Get("Content-Disposition"); got != "attachment; filename=gatehouse-01C.tar" {
		t.Errorf("disposition: %s", got)
	}
	files := tar.NewReader(res.Body)
	h, err := files.Next()
	if err != nil || h.Name != "sessions/2026/11/23/01C/000001.piece" {
		t.Fatalf("first file: %+v, %v", h, err)
	}
	b, err := io.ReadAll(files)
	if err != nil || int64(len(b)) != h.Size || len(b) == 0 {
		t.Errorf("%d bytes: %v", len(b), err)
	}
	if _, err := files.Next(); err != io.EOF {
		t.Errorf("after the last file: %v", err)
	}
	// What cannot be had whole must not look whole.
	res = g.send("GET", "/api/sessions/01B/recording", "", nil)
	if _, err := io.Copy(io.Discard, res.Body); err == nil {
		t.Error("a download that broke ended as if it were whole")
	}
}

// A06: what is no text is shown as what it is.
func TestText(t *testing.T) {
	for _, tc := range []struct {
		in         string
		head, tail int
		want       console.Text
	}{
		{"", 4, 2, console.Text{}},
		{"abcdef", 4, 2, console.Text{Head: "abcdef", Bytes: 6}},
		{"abcdefg", 4, 2, console.Text{Head: "abcd", Hidden: 1, Tail: "fg", Bytes: 7}},
		{"aäöüb", 2, 2, console.Text{Head: "a", Hidden: 6, Tail: "b", Bytes: 8}},
		{"a\xffb\x00", 4, 4, console.Text{Head: "a⟨0xFF⟩b\x00", Bytes: 4}},
		{"a\ufffdb", 9, 9, console.Text{Head: "a\ufffdb", Bytes: 5}},
	} {
		if diff := cmp.Diff(tc.want, console.TextOf([]byte(tc.in), tc.head, tc.tail)); diff != "" {
			t.Errorf("%q:\n%s", tc.in, diff)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add([]byte("aäöüb\xff\x80\x80\x80\x80\x80\x80"), uint8(3), uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, head, tail uint8) {
		got := console.TextOf(b, int(head), int(tail))
		if !utf8.ValidString(got.Head) || !utf8.ValidString(got.Tail) || got.Bytes != len(b) || got.Hidden < 0 || got.Hidden > len(b) {
			t.Errorf("%+v", got)
		}
		if utf8.Valid(b) && len(got.Head)+got.Hidden+len(got.Tail) != len(b) {
			t.Errorf("%d bytes became %d, %d hidden and %d", len(b), len(got.Head), got.Hidden, len(got.Tail))
		}
	})
}
