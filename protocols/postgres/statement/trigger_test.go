package statement

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// What a trigger's function does is read whole, or it is said why not.
func TestTrigger(t *testing.T) {
	for _, test := range []struct {
		body, when, unread string
		conditions         int
		sets, does         int
	}{
		{"BEGIN RETURN NEW; END", "", "", 0, 0, 0},
		{"BEGIN NEW.a := upper(NEW.b); NEW.c = 1; RETURN NEW; END", "new.a IS NOT NULL", "", 1, 2, 0},
		{"BEGIN IF TG_OP = 'INSERT' THEN INSERT INTO l VALUES (NEW.*, 'it''s'); ELSIF NEW.a > 1 THEN DELETE FROM l; ELSE PERFORM f(OLD.a); END IF; RETURN NULL; END", "", "", 2, 0, 3},
		{"DECLARE a int; BEGIN RETURN NEW; END", "", "declares", 0, 0, 0},
		{"#variable_conflict use_column\nBEGIN RETURN NEW; END", "", "declares", 0, 0, 0},
		{"BEGIN NEW := OLD; RETURN NEW; END", "", "assigns to something else", 0, 0, 0},
		{"BEGIN OLD.a := NEW.b; RETURN NEW; END", "", "assigns to something else", 0, 0, 0},
		{"BEGIN NEW.a := b FROM t; RETURN NEW; END", "", "is a query", 0, 0, 0},
		{"BEGIN RETURN f(NEW); END", "", "returns something else", 0, 0, 0},
		{"BEGIN EXECUTE 'x'; RETURN NEW; END", "", "DYNEXECUTE", 0, 0, 0},
		{"BEGIN SELECT a INTO NEW.b FROM t; RETURN NEW; END", "", "it has ", 0, 0, 0},
		{"BEGIN CREATE TABLE x AS SELECT NEW.a; RETURN NEW; END", "", "not followed", 0, 0, 0},
		{"BEGIN RETURN NEW; EXCEPTION WHEN OTHERS THEN RETURN NULL; END", "", "it has ", 0, 0, 0},
		{"BEGIN nonsense", "", "cannot be read", 0, 0, 0},
		{"BEGIN RETURN NEW; END", "new.a FROM t", "is a query", 0, 0, 0},
	} {
		got, err := shared.Trigger(t.Context(), test.body, test.when)
		if err != nil {
			t.Fatal(err)
		}
		if (got.Unread == "") != (test.unread == "") || !strings.Contains(got.Unread, test.unread) {
			t.Errorf("%s: not followed since %q, want %q", test.body, got.Unread, test.unread)
		}
		if test.unread == "" && (len(got.When) != test.conditions || len(got.Set) != test.sets || len(got.Do) != test.does) {
			t.Errorf("%s: %d conditions, %d assignments, %d statements", test.body, len(got.When), len(got.Set), len(got.Do))
		}
	}
}

// FuzzTrigger looks for bodies and rules that make the reader panic or the parser trap.
func FuzzTrigger(f *testing.F) {
	f.Add("BEGIN IF NEW.a = 1 THEN NEW.b := OLD.c; END IF; INSERT INTO l VALUES (NEW.*); RETURN NEW; END", "old.* IS DISTINCT FROM new.*")
	f.Add("CREATE RULE r AS ON INSERT TO t WHERE new.a > 1 DO ALSO (INSERT INTO l VALUES (new.a); DELETE FROM m)", "")
	a := NewAnalyzer(Limits{Text: 4096, Parses: 20})
	ctx := context.Background()
	f.Fuzz(func(t *testing.T, body, when string) {
		_, err := a.Trigger(ctx, body, when)
		_, rule := a.Rule(ctx, body)
		if err = errors.Join(err, rule); err != nil {
			t.Fatal(err)
		}
	})
}
