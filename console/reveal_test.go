package console_test

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"gatehouse/console"
	"gatehouse/console/internal/sample"
	"gatehouse/core/event"
	"gatehouse/core/protect"
)

// clears makes a policy that protects two columns, and clears people for some.
func clears(t *testing.T, cleared map[string][]string) func(*console.Console) {
	all, err := protect.New(protect.Config{Columns: map[string]event.Treatment{"hr.people.ssn": {}, "hr.people.pay": {}}})
	if err != nil {
		t.Fatal(err)
	}
	return func(c *console.Console) {
		c.Protected = func(by event.Principal, s *event.Session) (*protect.Columns, error) {
			patterns, reaches := cleared[by.Subject]
			if !reaches || s.Resource != "orders" {
				return nil, errors.New("no policy lets you")
			}
			return all.Without(patterns), nil
		}
	}
}

func TestMaskedValuesAreRevealedToWhoIsCleared(t *testing.T) {
	for name, test := range map[string]struct {
		masked  []string
		cleared map[string][]string
		who     string
		status  int
	}{
		"cleared for all":                {[]string{"*"}, map[string][]string{"bob": {"hr.*"}}, "bob", http.StatusOK},
		"cleared for the column":         {[]string{"hr.people.ssn"}, map[string][]string{"bob": {"*.ssn"}}, "bob", http.StatusOK},
		"cleared for another column":     {[]string{"*.people.ssn"}, map[string][]string{"bob": {"hr.people.pay"}}, "bob", http.StatusForbidden},
		"some columns are not known":     {[]string{"hr.people.ssn", "*"}, map[string][]string{"bob": {"hr.people.ssn"}}, "bob", http.StatusForbidden},
		"not cleared":                    {[]string{"hr.people.ssn"}, map[string][]string{"bob": nil}, "bob", http.StatusForbidden},
		"no policy":                      {[]string{"hr.people.ssn"}, nil, "bob", http.StatusForbidden},
		"cleared, and no approver":       {[]string{"hr.people.ssn"}, map[string][]string{"carol": {"*"}}, "carol", http.StatusNotFound},
		"their own":                      {[]string{"hr.people.ssn"}, map[string][]string{"agent": {"*"}}, "agent", http.StatusForbidden},
		"another request than was shown": {[]string{"hr.people.ssn"}, map[string][]string{"bob": {"*"}}, "bob", http.StatusConflict},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, clears(t, test.cleared))
			p := sample.Held("A", "UPDATE people SET ssn = '[redacted]' WHERE ssn = $1", "[redacted]")
			p.Request.Masked, p.Digest = test.masked, [32]byte{7}
			recorded := 0
			p.Reveal = func(_ context.Context, by event.Principal) (*event.Sent, error) {
				if by.Subject != test.who {
					t.Errorf("revealed to %s", by.Subject)
				}
				recorded++
				return &event.Sent{Payload: []byte("UPDATE people SET ssn = '987-65-4321' WHERE ssn = $1"), Params: [][]byte{[]byte("123-45-6789")}}, nil
			}
			g.hold(t.Context(), p)
			digest := hex.EncodeToString(p.Digest[:])
			if test.status == http.StatusConflict {
				digest = strings.Repeat("0", 64)
			}
			for _, path := range []string{"/api/approvals", "/api/approvals/A"} {
				res := g.send("GET", path, "", map[string]string{"Cookie": "who=" + test.who})
				b, _ := io.ReadAll(res.Body)
				if strings.Contains(string(b), "987-65-4321") || strings.Contains(string(b), "123-45-6789") {
					t.Errorf("GET %s shows what is masked: %s", path, b)
				}
				may := strings.Contains(string(b), `"may_reveal":true`)
				if want := test.status == http.StatusOK || test.status == http.StatusConflict; may != want {
					t.Errorf("GET %s: may reveal: %t, want %t", path, may, want)
				}
			}
			res := g.send("POST", "/api/approvals/A/reveal", `{"digest":"`+digest+`"}`, map[string]string{"Cookie": "who=" + test.who})
			b, _ := io.ReadAll(res.Body)
			shown := strings.Contains(string(b), "987-65-4321") && strings.Contains(string(b), "123-45-6789")
			if res.StatusCode != test.status || shown != (test.status == http.StatusOK) || (recorded == 1) != shown {
				t.Errorf("%s, recorded %d times: %s", res.Status, recorded, b)
			}
		})
	}
}

func TestRevealThatCannotBeRecorded(t *testing.T) {
	g := newGate(t, clears(t, map[string][]string{"bob": {"*"}}))
	p := sample.Held("A", "SELECT '[redacted]'")
	p.Request.Masked = []string{"*"}
	p.Reveal = func(context.Context, event.Principal) (*event.Sent, error) { return nil, errors.New("disk full") }
	g.hold(t.Context(), p)
	a, err := g.client("bob").Get(t.Context(), "A")
	if err != nil {
		t.Fatal(err)
	}
	var refused *console.ClientError
	if v, err := g.client("bob").Reveal(t.Context(), a); !errors.As(err, &refused) || refused.Status != http.StatusConflict || v.Statement.Head != "" {
		t.Errorf("%+v, %v", v, err)
	}
	p.Request.Masked = nil
	q := sample.Held("B", "SELECT 1")
	g.hold(t.Context(), q)
	if a, err = g.client("bob").Get(t.Context(), "B"); err != nil || a.MayReveal {
		t.Errorf("what is not masked may be revealed: %t, %v", a.MayReveal, err)
	}
}
