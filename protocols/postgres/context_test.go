package postgres_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgproto3/v2"
	"github.com/jackc/pgx/v5"

	"gatehouse/core/event"
	"gatehouse/core/peers"
	"gatehouse/protocols/postgres"
)

// The settings that change what text or names mean, each with a value that does,
// and the ways to set them. The README has the same table.
var (
	contextSettings = []struct{ name, value string }{
		{"search_path", "app"}, {"role", "bystander"}, {"standard_conforming_strings", "off"}, {"client_encoding", "LATIN1"},
	}
	contextWays = []struct{ way, sql string }{
		{"`SET`", "SET %[1]s = '%[2]s'"},
		{"`SET LOCAL`", "BEGIN; SET LOCAL %[1]s = '%[2]s'"},
		{"`set_config`", "SELECT set_config('%[1]s', '%[2]s', false)"},
		{"`set_config` with a computed name", "SELECT set_config('%[1]s' || '', '%[2]s', false)"},
		{"`UPDATE pg_settings`", "UPDATE pg_settings SET setting = '%[2]s' WHERE name = '%[1]s'"},
		{"in a `DO`", "DO $$ BEGIN SET %[1]s = '%[2]s'; END $$"},
		{"a function that a statement calls", "SELECT sets_%[1]s()"},
		{"an option of such a function", "SELECT with_%[1]s()"},
		{"`CREATE FUNCTION … SET`", "CREATE FUNCTION made() RETURNS int LANGUAGE sql SET %[1]s = '%[2]s' AS 'SELECT 1'"},
		{"`ALTER ROLE … SET`", "ALTER ROLE CURRENT_USER SET %[1]s = '%[2]s'"},
		{"`ALTER DATABASE … SET`", "ALTER DATABASE postgres SET %[1]s = '%[2]s'"},
		{"a start-up parameter", ""},
		{"set for the database by somebody else", "ALTER DATABASE %[3]s SET %[1]s = '%[2]s'"},
	}
)

var byRule = regexp.MustCompile(`rule guard/([a-z-]+)`)

// Whatever changes what text or names mean is followed, pinned or refused.
func TestSessionContext(t *testing.T) {
	sql := `CREATE SCHEMA app; CREATE TABLE orders (id int); INSERT INTO orders VALUES (1);
		CREATE FUNCTION app.purge_here() RETURNS int LANGUAGE sql AS 'DELETE FROM public.orders; SELECT 1';`
	for _, s := range contextSettings {
		sql += fmt.Sprintf("CREATE FUNCTION sets_%[1]s() RETURNS text LANGUAGE sql AS $$ SELECT set_config('%[1]s', '%[2]s', false) $$;", s.name, s.value)
		if s.name != "client_encoding" { // which a function cannot have
			body := "SELECT 'x'"
			if s.name == "search_path" {
				body = "SELECT purge_here()::text"
			}
			sql += fmt.Sprintf("CREATE FUNCTION with_%[1]s() RETURNS text LANGUAGE sql SET %[1]s = '%[2]s' AS $$ %[3]s $$;", s.name, s.value, body)
		}
	}
	g := guarded(t, gateConfig{})
	if err := g.pg.Exec(t.Context(), "postgres", "DO $$ BEGIN CREATE ROLE bystander; EXCEPTION WHEN duplicate_object THEN END $$"); err != nil {
		t.Fatal(err)
	}
	if _, err := g.direct(t).Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	go func() {
		for range g.desk.pending {
			g.desk.decide <- event.Decision{}
		}
	}()
	defer close(g.desk.pending)
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range contextWays {
		row := []string{w.way}
		for _, s := range contextSettings {
			outcome, follow := "", true
			params := map[string]string{"user": "agent", "database": "orders"}
			switch {
			case w.sql == "":
				params[s.name] = s.value
			case strings.Contains(w.sql, "%[3]s"):
				alter := fmt.Sprintf(w.sql, s.name, s.value, pgx.Identifier{g.database}.Sanitize())
				if err := g.pg.Exec(t.Context(), peers.Superuser, alter); err != nil {
					t.Fatal(err)
				}
				if s.name == "search_path" {
					time.Sleep(postgres.CatalogAge) // what the gate knows may be so old
				}
			}
			r := dialRaw(t, g.addr, params, "")
			r.send(&pgproto3.PasswordMessage{Password: "good"})
			for outcome == "" {
				m, err := r.read()
				if err != nil || strings.HasPrefix(m, "E") {
					outcome, follow = "no session", false
				}
				if strings.HasPrefix(m, "Z") {
					break
				}
			}
			if follow && w.sql != "" && !strings.Contains(w.sql, "%[3]s") {
				a := r.ask(&pgproto3.Query{String: fmt.Sprintf(w.sql, s.name, s.value, "")})
				rule := byRule.FindStringSubmatch(a.said)
				switch {
				case a.code == "":
				case rule != nil && strings.Contains(a.said, "waiting"):
					outcome = "held, `" + rule[1] + "`"
				case rule != nil && rule[1] == "unqualified-write": // names in it are those of the path
					outcome = "followed in it"
				case rule != nil:
					outcome = "blocked, `" + rule[1] + "`"
				case a.code == "42501":
					outcome = "refused"
				default:
					outcome = "no such thing"
				}
			}
			if outcome == "" {
				outcome = "passes"
				if s.name == "search_path" {
					if a := r.ask(&pgproto3.Query{String: "SELECT purge_here()"}); strings.Contains(a.said, "unqualified-write") {
						outcome = "followed"
					}
				}
				if s.name == "client_encoding" && r.ask(&pgproto3.Query{String: "SHOW client_encoding"}).outcome[0] == "D UTF8" {
					outcome = "stays UTF8"
				}
			}
			r.Close()
			if strings.Contains(w.sql, "%[3]s") {
				reset := "ALTER DATABASE " + pgx.Identifier{g.database}.Sanitize() + " RESET ALL"
				if err := g.pg.Exec(t.Context(), peers.Superuser, reset); err != nil {
					t.Fatal(err)
				}
			}
			row = append(row, outcome)
		}
		line := "| " + strings.Join(row, " | ") + " |"
		if !slices.Contains(strings.Split(string(readme), "\n"), line) {
			t.Errorf("the README lacks: %s", line)
		}
	}
	if g.one(t, "SELECT count(*)::text FROM orders") != "1" {
		t.Error("something ran")
	}
}
