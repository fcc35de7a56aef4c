package postgres_test

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/core/event"
	"gatehouse/core/protect"
	"gatehouse/protocols/postgres"
)

//go:embed testdata/ordinary/schema.sql
var shopSchema string

//go:embed testdata/ordinary/bank.sql
var bankSchema string

// protectedShop are the protected columns of testdata/ordinary/schema.sql.
func protectedShop(t testing.TB) *protect.Columns {
	return strictly(t, "customers.email", "customers.phone", "customers.ssn", "customers.birth_date", "cards.number", "cards.holder",
		"employees.salary", "employees.ssn", "messages.body$.card")
}

// protectedBank are those of testdata/ordinary/bank.sql.
func protectedBank(t testing.TB) *protect.Columns {
	return strictly(t, "people.email", "people.mobile", "people.ssn", "people.born", "cards.pan", "cards.cvv",
		"staff.salary", "staff.iban", "accounts.iban", "applications.doc$.applicant.ssn")
}

func strictly(t testing.TB, columns ...string) *protect.Columns {
	t.Helper()
	c := protect.Config{Mode: protect.Strict, Columns: map[string]event.Treatment{}, Implied: postgres.ProtectedCatalog()}
	for _, name := range columns {
		c.Columns["public."+name] = event.Treatment{Kind: event.Redact}
	}
	p, err := protect.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// An ordinary statement is an entry of testdata/ordinary, which business.txt
// explains.
type ordinary struct {
	place   string
	fields  string
	refused bool
	version int // the only one that it is for; 0: all
	sql     string
	params  [][]byte
}

func readOrdinary(t testing.TB, name string) (all []*ordinary) {
	t.Helper()
	text, err := os.ReadFile("testdata/ordinary/" + name)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if params, ok := strings.CutPrefix(line, "\t$ "); ok {
			for p := range strings.SplitSeq(params, " | ") {
				b := []byte(p)
				if p == `\N` {
					b = nil
				}
				last := all[len(all)-1]
				last.params = append(last.params, b)
			}
			continue
		}
		if line[0] == '\t' {
			all[len(all)-1].sql += "\n" + line[1:]
			continue
		}
		fields, sql, ok := strings.Cut(line, " ")
		fields, only, _ := strings.Cut(fields, "@")
		version, _ := strconv.Atoi(only)
		if !ok || strings.Trim(fields, "-.~x!") != "" {
			t.Fatalf("%s:%d: what are the fields %q?", name, n, fields)
		}
		all = append(all, &ordinary{place: fmt.Sprintf("%s:%d", name, n), fields: strings.Trim(fields, "-!"), refused: fields == "!", version: version, sql: sql})
	}
	return all
}

var placeholder = regexp.MustCompile(`\$(\d+)\b`)

// written returns the statement with its parameters as literals.
func (o *ordinary) written() string {
	if len(o.params) == 0 {
		return o.sql
	}
	return placeholder.ReplaceAllStringFunc(o.sql, func(p string) string {
		n, _ := strconv.Atoi(p[1:])
		if v := o.params[n-1]; v != nil {
			return "'" + strings.ReplaceAll(string(v), "'", "''") + "'"
		}
		return "NULL"
	})
}

// ask sends the statement in a transaction that it rolls back, and returns the
// last of its results.
func (o *ordinary) ask(ctx context.Context, c *pgconn.PgConn, mode string) (*pgconn.Result, error) {
	if _, err := c.Exec(ctx, "BEGIN").ReadAll(); err != nil {
		return nil, err
	}
	r, err := o.send(ctx, c, mode)
	if _, end := c.Exec(ctx, "ROLLBACK").ReadAll(); err == nil {
		err = end
	}
	return r, err
}

func (o *ordinary) send(ctx context.Context, c *pgconn.PgConn, mode string) (*pgconn.Result, error) {
	if mode == "simple" {
		rs, err := c.Exec(ctx, o.written()).ReadAll()
		if err != nil {
			return nil, err
		}
		return rs[len(rs)-1], nil
	}
	sql := o.sql
	if before, last, ok := strings.Cut(sql, "; "); ok {
		if _, err := c.Exec(ctx, before).ReadAll(); err != nil {
			return nil, err
		}
		sql = last
	}
	var formats []int16
	if mode == "binary" {
		formats = []int16{1}
	}
	r := c.ExecParams(ctx, sql, o.params, nil, nil, formats).Read()
	return r, r.Err
}

// differs says how what came through the gate is not what was to come.
func (o *ordinary) differs(direct, through *pgconn.Result) string {
	if len(direct.FieldDescriptions) != len(o.fields) && len(direct.Rows) > 0 {
		return fmt.Sprintf("the result has %d fields", len(direct.FieldDescriptions))
	}
	if direct.CommandTag != through.CommandTag || len(direct.Rows) != len(through.Rows) {
		return fmt.Sprintf("%s, %d rows; directly %s, %d rows", through.CommandTag, len(through.Rows), direct.CommandTag, len(direct.Rows))
	}
	for i, row := range direct.Rows {
		for j, want := range row {
			name, got := direct.FieldDescriptions[j].Name, through.Rows[i][j]
			switch same := bytes.Equal(got, want) && (got == nil) == (want == nil); o.fields[j] {
			case '.':
				if !same {
					return fmt.Sprintf("%s of row %d is %s; directly %s", name, i+1, cell(got), cell(want))
				}
			case '~':
				if got == nil || bytes.Contains(got, []byte("redacted")) {
					return fmt.Sprintf("%s of row %d is %s", name, i+1, cell(got))
				}
			case 'x':
				if same && len(want) > 0 && !slices.Contains([]string{"0", "f", "{}", "\x00"}, string(want)) {
					return fmt.Sprintf("%s of row %d is %s, as directly", name, i+1, cell(want))
				}
			}
		}
	}
	return ""
}

func isCode(err error, code string) bool {
	e, is := errors.AsType[*pgconn.PgError](err)
	return is && e.Code == code
}

func cell(v []byte) string {
	if v == nil {
		return "NULL"
	}
	return fmt.Sprintf("%.200q", v)
}

// What is clean in ordinary statements comes through strict masking as it is, what
// is protected does not, and only those are refused of which the corpus says so.
func TestOrdinaryStatements(t *testing.T) {
	for _, corpus := range []struct {
		name, schema string
		columns      *protect.Columns
		files        []string
		least        int
	}{
		{"shop", shopSchema, protectedShop(t), []string{"business.txt", "more.txt", "tools.txt"}, 700},
		{"bank", bankSchema, protectedBank(t), []string{"bank.txt"}, 500},
	} {
		var all []*ordinary
		for _, name := range corpus.files {
			all = append(all, readOrdinary(t, name)...)
		}
		if len(all) < corpus.least {
			t.Errorf("the corpus of the %s has %d statements", corpus.name, len(all))
		}
		for _, version := range []int{15, 18} {
			g := startGate(t, gateConfig{version: version, sql: corpus.schema, columns: corpus.columns})
			ordinaryThrough(t, g, version, all)
		}
	}
}

func ordinaryThrough(t *testing.T, g *gate, version int, all []*ordinary) {
	direct, through := g.direct(t).PgConn(), g.connect(t, "").PgConn()
	for o := range some(all) {
		if o.version != 0 && o.version != version {
			continue
		}
		for _, mode := range []string{"simple", "text", "binary"} {
			want, err := o.ask(t.Context(), direct, mode)
			if mode == "binary" && isCode(err, "42883") {
				continue // some types have no such format
			}
			if err != nil {
				t.Errorf("%s: PostgreSQL %d, %s, directly: %v\n%s", o.place, version, mode, err, o.sql)
				continue
			}
			got, err := o.ask(t.Context(), through, mode)
			if o.refused && isCode(err, "42501") {
				continue
			}
			if err != nil {
				t.Errorf("%s: PostgreSQL %d, %s: %v\n%s", o.place, version, mode, err, o.sql)
			} else if d := o.differs(want, got); d != "" {
				t.Errorf("%s: PostgreSQL %d, %s: %s\n%s", o.place, version, mode, d, o.sql)
			}
			if through.IsClosed() {
				through = g.connect(t, "").PgConn()
			}
		}
	}
}
