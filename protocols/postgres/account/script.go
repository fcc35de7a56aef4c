package account

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/jackc/pgx/v5"
)

// quoted quotes the parts of a name. Every name in a script is quoted: whoever
// can create objects chose it.
func quoted(parts ...string) string { return pgx.Identifier(parts).Sanitize() }

// printable is a text that stays on one line.
func printable(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}

// A script is SQL with comments, for psql.
type script struct {
	bytes.Buffer
	r *Report
}

func (s *script) comment(format string, args ...any) {
	for line := range strings.SplitSeq(fmt.Sprintf(format, args...), "\n") {
		s.WriteString(strings.TrimRight("-- "+line, " ") + "\n")
	}
}

func (s *script) sql(format string, args ...any) { fmt.Fprintf(s, format+";\n", args...) }

// Script writes the SQL that leaves nothing to be found. It is for psql and a
// superuser, changes nothing when it is run again, and takes no privilege from
// the account that is not named in a finding.
func (r *Report) Script(w io.Writer) error {
	s := &script{r: r}
	self := quoted(r.Account)
	s.comment("What the account %s may do beyond the policy, and the SQL that takes it away.", printable(r.Account))
	s.comment("Review it, and run it as a superuser with psql. It can be run again.")
	s.comment("")
	for _, f := range r.Findings {
		s.comment("* %s", f)
	}
	if len(r.Findings) == 0 {
		s.comment("Nothing is to be done.")
	} else {
		s.WriteString("\n\\set ON_ERROR_STOP on\n")
		for _, d := range r.databases {
			s.database(d, self)
		}
		s.server(self)
	}
	s.limits()
	_, err := w.Write(s.Bytes())
	return err
}

// connect changes to a database, with psql's means.
func (s *script) connect(d *database) {
	name := printable(d.name)
	s.WriteString("\n")
	s.comment("Database %s", name)
	if name != d.name {
		s.comment("psql cannot be told to open it. Open it, and run what follows.")
		s.WriteString("\\quit\n")
		return
	}
	conninfo := "dbname='" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(d.name) + "'"
	fmt.Fprintf(s, "\\connect -reuse-previous=on %s\n", quoted(conninfo))
}

func (s *script) begin() { s.WriteString("BEGIN;\nSET LOCAL search_path = pg_catalog;\n") }

func (s *script) database(d *database, self string) {
	body := &script{r: s.r}
	body.owners(d)
	for _, v := range d.revokes {
		body.revoke(v, self)
	}
	body.keep(d, self)
	if body.Len() == 0 {
		return
	}
	s.connect(d)
	s.begin()
	s.Write(body.Bytes())
	s.WriteString("COMMIT;\n")
}

// owners gives what the account owns to somebody whom it cannot become.
func (s *script) owners(d *database) {
	to := s.r.roles[bootstrap]
	if owner := s.r.roles[d.self.owner]; owner != nil && !d.before.ids[owner.oid] {
		to = owner
	}
	var moves []string
	if d.self.moved {
		moves = append(moves, "DATABASE "+d.self.sql)
	}
	for _, rel := range d.relations {
		if rel.moved && rel.relkind != "S" {
			moves = append(moves, "TABLE "+rel.sql)
		}
	}
	for _, t := range d.triggers {
		if move := "FUNCTION " + t.function.sql; t.function.moved && !slices.Contains(moves, move) {
			moves = append(moves, move)
		}
	}
	if len(moves) == 0 || to == nil {
		return
	}
	s.WriteString("\n")
	s.comment("An owner has every privilege, and can grant what was revoked.")
	for _, what := range moves {
		s.sql("ALTER %s OWNER TO %s", what, quoted(to.name))
	}
}

// revoke takes privileges from the account and from PUBLIC, whoever granted
// them.
func (s *script) revoke(v revoke, self string) {
	s.WriteString("\n")
	s.comment("%s", v.why)
	type source struct{ grantor, grantee uint32 }
	var sources []source
	public := false
	for _, g := range v.object.grants {
		from := source{g.grantor, g.grantee}
		if g.grantee != 0 && g.grantee != s.r.self.oid || !slices.Contains(v.privileges, g.privilege) || g.grantee == v.object.owner {
			continue
		}
		public = public || g.grantee == 0
		if !slices.Contains(sources, from) {
			sources = append(sources, from)
		}
	}
	if public {
		s.comment("All roles had it as PUBLIC: grant it to those, other than the account, that need it.")
	}
	// What the account passed on goes with its own.
	passedOn := slices.ContainsFunc(v.object.grants, func(g grant) bool { return g.grantor == s.r.self.oid && g.grantor != v.object.owner })
	for _, from := range sources {
		grantee, cascade := "PUBLIC", ""
		if from.grantee != 0 {
			grantee = self
			if passedOn {
				cascade = " CASCADE"
			}
		}
		grantor := s.r.roles[from.grantor]
		other := grantor != nil && from.grantor != v.object.owner
		if other {
			s.sql("SET LOCAL ROLE %s", quoted(grantor.name))
		}
		s.sql("REVOKE %s ON %s %s FROM %s%s", strings.Join(v.privileges, ", "), v.object.kind, v.object.sql, grantee, cascade)
		if other {
			s.sql("RESET ROLE")
		}
	}
	if v.relation == nil || !public || v.relation.system || !slices.Contains(v.privileges, "SELECT") {
		return
	}
	everybody := &reach{}
	if left := v.relation.open(func(c *column) bool { return everybody.can(v.object, "SELECT", c.number) }); len(left) > 0 {
		s.sql("GRANT SELECT (%s) ON TABLE %s TO PUBLIC", columnList(left), v.object.sql)
	}
}

// open are the columns that are not closed and for which want holds.
func (r *relation) open(want func(*column) bool) []string {
	var names []string
	for i := range r.columns {
		if c := &r.columns[i]; !c.closed() && want(c) {
			names = append(names, c.name)
		}
	}
	return names
}

func columnList(names []string) string {
	list := make([]string, len(names))
	for i, n := range names {
		list[i] = quoted(n)
	}
	return strings.Join(list, ", ")
}

// keep grants to the account by itself what it had by what is taken from it, and
// nobody protects.
func (s *script) keep(d *database, self string) {
	var grants []string
	grant := func(o *object, privileges ...string) {
		if len(privileges) > 0 {
			grants = append(grants, fmt.Sprintf("GRANT %s ON %s %s TO %s", strings.Join(privileges, ", "), o.kind, o.sql, self))
		}
	}
	lost := func(o *object, all ...string) (privileges []string) {
		for _, p := range all {
			if d.before.can(o, p, 0) && !d.after.can(o, p, 0) {
				privileges = append(privileges, p)
			}
		}
		return privileges
	}
	grant(&d.self, lost(&d.self, "CONNECT")...)
	for _, o := range d.schemas {
		grant(o, lost(o, "USAGE")...)
	}
	for _, rel := range d.relations {
		switch {
		case rel.system:
		case rel.kind == "SEQUENCE":
			grant(&rel.object, lost(&rel.object, "USAGE", "SELECT", "UPDATE")...)
		default:
			grant(&rel.object, s.keepOf(d, rel, lost)...)
		}
	}
	if len(grants) == 0 {
		return
	}
	s.WriteString("\n")
	s.comment("What the account keeps.")
	for _, g := range grants {
		s.sql("%s", g)
	}
}

// keepOf returns the privileges that the account is granted of a table.
func (s *script) keepOf(d *database, rel *relation, lost func(*object, ...string) []string) []string {
	o := &rel.object
	whole := []string{"SELECT", "INSERT", "UPDATE", "DELETE"}
	if rel.shut {
		whole = whole[1:]
	}
	privileges := lost(o, whole...)
	revoked := slices.ContainsFunc(d.revokes, func(v revoke) bool { return v.object == o && slices.Contains(v.privileges, "SELECT") })
	for _, p := range []string{"SELECT", "INSERT", "UPDATE"} {
		if slices.Contains(privileges, p) {
			continue
		}
		var left []string
		for i := range rel.columns {
			c := &rel.columns[i]
			if p == "SELECT" && c.closed() && rel.shut || !d.before.can(o, p, c.number) {
				continue
			}
			if !d.after.can(o, p, c.number) || p == "SELECT" && revoked {
				left = append(left, c.name)
			}
		}
		if len(left) > 0 {
			privileges = append(privileges, fmt.Sprintf("%s (%s)", p, columnList(left)))
		}
	}
	return privileges
}

// server takes memberships and attributes, which belong to no database. They come
// last, when the account has what it keeps.
func (s *script) server(self string) {
	r := s.r
	body := &script{r: r}
	for _, m := range r.self.memberOf {
		of := r.roles[m.role]
		if of == nil || !r.isBad(of) {
			continue
		}
		by := ""
		// From version 16 on, a membership belongs to who granted it.
		if grantor := r.roles[m.grantor]; grantor != nil && m.grantor != bootstrap && r.version >= 160000 {
			by = " GRANTED BY " + quoted(grantor.name)
		}
		body.sql("REVOKE %s FROM %s%s CASCADE", quoted(of.name), self, by)
	}
	if words := r.self.words(); len(words) > 0 {
		if r.self.oid == bootstrap && r.self.super {
			body.comment("The superuser that initdb made stays one: make another account for the gate.")
		} else {
			body.sql("ALTER ROLE %s NO%s", self, strings.Join(words, " NO"))
		}
	}
	if body.Len() == 0 {
		return
	}
	s.WriteString("\n")
	s.comment("All of the server")
	s.begin()
	s.Write(body.Bytes())
	s.WriteString("COMMIT;\n")
}

// limits says what is left.
func (s *script) limits() {
	s.WriteString("\n")
	s.comment("What privileges cannot do:")
	s.comment("* Whoever may not read a column can neither compare nor sort by it, and gets")
	s.comment("  an error in the place of a masked value, for SELECT * too. What agents")
	s.comment("  should use, masked, must stay granted; then the gate alone protects it.")
	s.comment("* INSERT and UPDATE show no values, and stay. Where a protected column is")
	s.comment("  unique, their errors tell whether a value is there.")
	s.comment("* The server shows the account the texts of all of its sessions, in")
	s.comment("  pg_stat_activity and pg_stat_statements: of all agents of the gate. The gate")
	s.comment("  masks them. To close them to all but superusers:")
	s.comment("    REVOKE SELECT ON pg_catalog.pg_stat_activity FROM PUBLIC;")
	s.comment("    REVOKE EXECUTE ON FUNCTION pg_catalog.pg_stat_get_activity(integer) FROM PUBLIC;")
	s.comment("* query_to_xml and its like run what they are given with the rights of the")
	s.comment("  account, so that they show no more than it may read.")
	s.comment("* Temporary tables hold what the account could read. If agents need none:")
	for _, d := range s.r.databases {
		s.comment("    REVOKE TEMPORARY ON DATABASE %s FROM PUBLIC;", printable(d.self.sql))
	}
	s.comment("* Tables, columns, views and functions that come later are not looked at: run")
	s.comment("  gatehouse check after a migration. ALTER DEFAULT PRIVILEGES may grant them.")
	s.kept()
}

// kept lists the columns that stay readable, and why.
func (s *script) kept() {
	byReason := make(map[string][]string)
	for _, d := range s.r.databases {
		for _, rel := range d.relations {
			for _, c := range rel.columns {
				if c.kept != "" {
					byReason[c.kept] = append(byReason[c.kept], printable(d.name+": "+rel.schema+"."+rel.relname+"."+c.name))
				}
			}
		}
	}
	for _, why := range slices.Sorted(maps.Keys(byReason)) {
		s.comment("* The account keeps, because %s:", printable(why))
		for _, c := range byReason[why] {
			s.comment("    %s", c)
		}
	}
}
