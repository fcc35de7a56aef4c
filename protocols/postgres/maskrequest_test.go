package postgres_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgproto3/v2"
	"github.com/jackc/pgx/v5"

	"gatehouse/core/event"
	"gatehouse/core/pipeline"
	"gatehouse/core/protect"
	"gatehouse/protocols/postgres"
	"gatehouse/recorder"
)

// maskedSchema has one protected column and, beside it, ones that are not.
const maskedSchema = `CREATE SCHEMA hr;
	CREATE TABLE hr.people (id int PRIMARY KEY, ssn text, city text, twice int GENERATED ALWAYS AS (id * 2) STORED);
	CREATE TABLE orders (id int, state text, total numeric);
	CREATE VIEW seen AS SELECT id, ssn AS what FROM hr.people;
	ALTER DATABASE %s SET search_path = hr, public`

func protectSSN(t testing.TB, mode protect.Mode, treatment event.TreatmentKind) *protect.Columns {
	t.Helper()
	c, err := protect.New(protect.Config{
		Mode: mode, Columns: map[string]event.Treatment{"hr.people.ssn": {Kind: treatment}}, Implied: postgres.ProtectedCatalog(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func maskedGate(t testing.TB, mode protect.Mode, treatment event.TreatmentKind, log io.Writer) *gate {
	g := startGate(t, gateConfig{sql: "", columns: protectSSN(t, mode, treatment), plugins: []pipeline.Plugin{rule(words)}, log: log})
	c := g.direct(t)
	if _, err := c.Exec(t.Context(), fmt.Sprintf(maskedSchema, g.database)); err != nil {
		t.Fatal(err)
	}
	return g
}

// requests are the texts and the values of the last session's requests, as they
// were recorded.
func (g *gate) requests(t testing.TB) (shown []string) {
	t.Helper()
	g.mu.Lock()
	last := g.tapes[len(g.tapes)-1]
	g.mu.Unlock()
	for _, f := range last.all() {
		if f.Kind != event.KindRequest {
			continue
		}
		var r event.Request
		if err := r.Decode(f.Payload); err != nil {
			t.Fatal(err)
		}
		s := string(r.Payload)
		for _, p := range r.Params {
			s += " | " + string(p)
		}
		shown = append(shown, s)
	}
	return shown
}

func TestRequestsAreRecordedMasked(t *testing.T) {
	for _, test := range []struct {
		mode      protect.Mode
		treatment event.TreatmentKind
		sql       string
		want      string
	}{
		{protect.Column, event.Redact, "SELECT city FROM people WHERE ssn = '123-45' AND city <> 'Porto' -- 123-45", "SELECT city FROM people WHERE ssn = '[redacted]' AND city <> 'Porto' "},
		{protect.Column, event.Redact, "SELECT 'free', state FROM orders WHERE state = 'open' AND total > 5 LIMIT 3", "SELECT 'free', state FROM orders WHERE state = 'open' AND total > 5 LIMIT 3"},
		{protect.Column, event.Redact, "INSERT INTO people VALUES (1, '123-45', 'Porto')", "INSERT INTO people VALUES (1, '[redacted]', 'Porto')"},
		{protect.Column, event.Redact, "DO $$ BEGIN UPDATE people SET ssn = '123-45'; END $$", "DO '[redacted]'"},
		{protect.Column, event.Redact, "DO $$ BEGIN UPDATE orders SET state = 'open'; END $$", "DO $$ BEGIN UPDATE orders SET state = 'open'; END $$"},
		{protect.Column, event.Redact, "PREPARE w AS UPDATE people SET ssn = $1, city = $2", "PREPARE w AS UPDATE people SET ssn = $1, city = $2"},
		{protect.Column, event.Redact, "EXECUTE w('123-45', 'Porto')", "EXECUTE w('[redacted]', '[redacted]')"},
		{protect.Column, event.Redact, "SELECT 1 FROM (SELECT ssn AS x FROM people) q WHERE x = '123-45'", "SELECT 1 FROM (SELECT ssn AS x FROM people) q WHERE x = '[redacted]'"},
		{protect.Column, event.Hash, "SELECT city FROM people WHERE ssn IN ('a', E'a', 5)", ""},
		{protect.Strict, event.Redact, "SELECT city FROM people WHERE ssn = '123-45' AND city <> 'Porto' AND id > 5 OFFSET 2", "SELECT city FROM people WHERE ssn = '[redacted]' AND city <> 'Porto' AND id > 5 OFFSET 2"},
		{protect.Strict, event.Redact, "SELECT id FROM seen WHERE what = '123-45' AND id = 5", "SELECT id FROM seen WHERE what = '[redacted]' AND id = '[redacted]'"},
		{protect.Strict, event.Redact, "SELECT o.id FROM orders o, people p WHERE p.id = o.id AND total > 5 AND city = 'Porto' AND lower(city) = 'porto'", "SELECT o.id FROM orders o, people p WHERE p.id = o.id AND total > 5 AND city = 'Porto' AND lower(city) = '[redacted]'"},
		{protect.Strict, event.Redact, "/* 123-45 */ SELECT 1, total * 2 FROM orders", "  SELECT '[redacted]', total * 2 FROM orders"},
		{protect.Strict, event.Redact, "SELECT '123-45", "[redacted: 14 bytes that were not read, digest "},
		{protect.Strict, event.Redact, "SET client_encoding = '123-45'", "SET client_encoding = '[redacted]'"},
	} {
		t.Run(test.sql, func(t *testing.T) {
			g := sharedMasked(t, test.mode, test.treatment)
			r := g.raw(t)
			if strings.HasPrefix(test.sql, "EXECUTE") {
				r.send(&pgproto3.Query{String: "PREPARE w AS UPDATE people SET ssn = $1, city = $2"})
				r.until("Z")
			}
			r.send(&pgproto3.Query{String: test.sql})
			r.until("Z")
			shown := g.requests(t)
			got := shown[len(shown)-1]
			if test.treatment == event.Hash {
				if parts := strings.Split(got, "'"); len(parts) != 7 || parts[1] == parts[3] || !strings.HasPrefix(parts[1], "h:") || parts[3] != "[redacted]" || !strings.HasPrefix(parts[5], "h:") {
					t.Errorf("got %s", got)
				}
				return
			}
			if !strings.HasPrefix(got, test.want) || !strings.HasPrefix(test.want, "[") && got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// sharedMasked returns a gate of the test around this one.
func sharedMasked(t *testing.T, mode protect.Mode, treatment event.TreatmentKind) *gate {
	return maskedGate(t, mode, treatment, nil)
}

// canary is a protected value. Its parts are no words of any statement.
const canary = "987-65-4321 Quixotry"

// A spill keeps what is written to it.
type spill struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *spill) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// leaks returns the forms in which b has the canary.
func leaks(b []byte) (found []string) {
	plain := []byte(canary)
	encoded := base64.StdEncoding.EncodeToString(plain)
	for name, form := range map[string]string{
		"plain": canary, "upper": strings.ToUpper(canary), "number": "987-65", "word": "uixotry", "hex": hex.EncodeToString(plain), "base64": encoded[:20],
	} {
		if bytes.Contains(b, []byte(form)) || bytes.Contains(bytes.ToUpper(b), []byte(strings.ToUpper(form))) {
			found = append(found, name)
		}
	}
	return found
}

// TestProtectedValuesOfRequestsAreNowhere sends a protected value in many forms.
// The server gets it, and what is recorded, shown and logged has nothing of it.
func TestProtectedValuesOfRequestsAreNowhere(t *testing.T) {
	for name, mode := range map[string]protect.Mode{"column": protect.Column, "strict": protect.Strict} {
		t.Run(name, func(t *testing.T) {
			var log spill
			g := maskedGate(t, mode, event.Redact, &log)
			ctx := t.Context()
			stored := func(how string) {
				t.Helper()
				if n := g.one(t, "SELECT count(*)::text FROM hr.people WHERE ssn = '"+canary+"'"); n != "1" {
					t.Errorf("%s: the server has %s rows with the value", how, n)
				}
				if _, err := g.direct(t).Exec(ctx, "TRUNCATE hr.people"); err != nil {
					t.Fatal(err)
				}
			}
			c := g.connect(t, "")
			for _, sql := range []string{
				"INSERT INTO people VALUES (1, '%s', 'x')",
				"INSERT INTO people (id, ssn) VALUES (1, 'x') ON CONFLICT (id) DO NOTHING; UPDATE hr.people AS p SET ssn = $tag$%s$tag$ WHERE p.ssn <> '%[1]s' /* %[1]s */ -- %[1]s",
				"INSERT INTO hr.people (ssn, id) SELECT E'%s', 1 UNION ALL SELECT 'x', 2",
				"INSERT INTO people (id, ssn) SELECT 1, v.x FROM (VALUES ('%s')) v (x)",
				"WITH w AS (SELECT '%s' AS x) INSERT INTO people (id, ssn) SELECT 1, x FROM w",
				"PREPARE put AS INSERT INTO people (id, ssn) VALUES (1, $1); EXECUTE put ('%s'); DEALLOCATE put",
				"DO $$ BEGIN INSERT INTO people (id, ssn) VALUES (1, '%s'); END $$",
				"DO $body$ BEGIN EXECUTE $x$ INSERT INTO people (id, ssn) VALUES (1, '%s') $x$; END $body$",
				"MERGE INTO people p USING (SELECT 1 AS id) s ON p.id = s.id WHEN NOT MATCHED THEN INSERT (id, ssn) VALUES (s.id, '%s')",
				"INSERT INTO people (id, ssn) VALUES (1, U&'%s' UESCAPE '!')",
			} {
				_, err := c.Exec(ctx, fmt.Sprintf(sql, canary), pgx.QueryExecModeSimpleProtocol)
				if mode == protect.Strict && strings.HasPrefix(sql, "DO") {
					if err == nil {
						t.Errorf("%s ran in strict mode", sql)
					}
					continue // refused, and recorded as that
				}
				if err != nil {
					t.Errorf("%s: %v", sql, err)
				}
				stored(sql)
			}
			for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec, pgx.QueryExecModeCacheStatement} {
				if _, err := c.Exec(ctx, "INSERT INTO people (id, ssn) VALUES ($1, $2)", mode, 1, canary); err != nil {
					t.Errorf("%s: %v", mode, err)
				}
				stored(mode.String())
			}
			for i, options := range []string{"", "CSV, HEADER", "FORMAT binary"} {
				var data string
				switch i {
				case 0:
					data = "1\t" + canary + "\tx\n"
				case 1:
					data = "id,ssn,city\n1,\"" + canary + "\",x"
				case 2:
					data = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x04\x00\x00\x00\x01\x00\x00\x00" + string(rune(len(canary))) + canary + "\x00\x00\x00\x01x\xff\xff"
				}
				if options != "" {
					options = " WITH (" + strings.Replace(options, "CSV", "FORMAT csv", 1) + ")"
				}
				if _, err := c.PgConn().CopyFrom(ctx, strings.NewReader(data), "COPY people FROM STDIN"+options); err != nil {
					t.Errorf("COPY %s: %v", options, err)
				}
				stored("COPY" + options)
			}
			// What does not run: unparsable, refused, wrong, rows that are none.
			for _, sql := range []string{
				"SELECT '%s", "SELECT city AS forbidden FROM people WHERE ssn = '%s'",
				"SELECT 1/0 FROM people WHERE ssn = '%s'", "INSERT INTO people (id, ssn) VALUES (1/0, '%s')", "SET client_encoding = 'UTF8'; SELECT city FROM people WHERE ssn = '%s' AND missing > 0",
				"SELECT city FROM people WHERE ssn = '%s' AND missing", "EXECUTE missing ('%s')", "UPDATE people SET id = 0, ssn = '%s' WHERE missing > 0", "COPY people FROM '/ssn/%s'",
			} {
				if _, err := c.Exec(ctx, fmt.Sprintf(sql, canary), pgx.QueryExecModeSimpleProtocol); err == nil && !strings.Contains(sql, "1/0 FROM") {
					t.Errorf("%s ran", sql)
				}
				r := g.raw(t)
				r.send(&pgproto3.Parse{Query: fmt.Sprintf(sql, canary)}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{})
				r.until("Z")
				r.Close()
			}
			for _, data := range []string{canary + "\n", "1\t2\t3\t" + canary + "\n"} {
				if _, err := c.PgConn().CopyFrom(ctx, strings.NewReader(data), "COPY people FROM STDIN"); err == nil {
					t.Errorf("COPY of %q went well", data)
				}
			}
			if _, err := c.PgConn().CopyFrom(ctx, io.MultiReader(strings.NewReader("1\t"+canary), failing{}), "COPY people FROM STDIN"); err == nil {
				t.Error("COPY that failed went well")
			}
			c.Close(ctx)

			if found := leaks(log.b.Bytes()); found != nil {
				t.Errorf("the log has %q: %s", found, log.b.Bytes())
			}
			g.mu.Lock()
			defer g.mu.Unlock()
			for _, tape := range g.tapes {
				for _, f := range tape.all() {
					if found := leaks(f.Payload); found != nil {
						t.Errorf("frame of kind %d has %q: %q", f.Kind, found, f.Payload)
					}
				}
			}
		})
	}
}

// failing is a reader that fails, and says the canary.
type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, fmt.Errorf("cannot go on: %s", canary) }

func TestMaskedUploadsReplay(t *testing.T) {
	g := maskedGate(t, protect.Column, event.Redact, nil)
	c := g.connect(t, "")
	data := "1\tfirst\tPor\\tto\n2\t\\N\t\\N\n"
	if _, err := c.PgConn().CopyFrom(t.Context(), strings.NewReader(data), "COPY people FROM STDIN"); err != nil {
		t.Fatal(err)
	}
	c.Close(context.Background())
	decoder := postgres.NewDecoder()
	var rows []string
	g.mu.Lock()
	frames := g.tapes[0].all()
	g.mu.Unlock()
	for i := range frames {
		upload := frames[i].Kind == event.KindUpload
		err := decoder.Decode(&frames[i], func(p recorder.Part) error {
			if upload && p.Row != nil {
				rows = append(rows, string(bytes.Join(p.Row, []byte("|"))))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"1|[redacted]|Por\tto", "2||"}, rows); diff != "" {
		t.Error(diff)
	}
}
