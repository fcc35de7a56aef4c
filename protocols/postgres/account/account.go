// Package account says what the database account that the gate logs in as may
// do beyond the gate's policies, and writes the SQL that takes that away: the
// server as a second wall, which holds where the gate's own does not, and for
// whoever has the account's password.
//
// It reads catalogues only. What it writes is a script for an administrator to
// review; it runs none of it.
package account

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// A Policy says which columns the account should not be able to read.
type Policy struct {
	// Protected is whether a column, "schema.table.column", is protected.
	Protected func(column string) bool
	// Keeps returns why the account must be able to read a protected column
	// of a database all the same, or "".
	Keeps func(database, column string) string
}

// A Finding is something that the account may do and should not.
type Finding struct {
	// Owner is whether it makes privileges meaningless: the account is a
	// superuser, or owns what is protected, or can become someone who is or
	// does.
	Owner bool
	// Database is where it is, "" for all of the server.
	Database string
	Text     string // "may SELECT public.customers (ssn)"
}

func (f Finding) String() string {
	if f.Database == "" {
		return f.Text
	}
	return fmt.Sprintf("%s in database %q", f.Text, f.Database)
}

// A Report is what was found of one account.
type Report struct {
	Account  string
	Findings []Finding

	self      *role
	roles     map[uint32]*role
	version   int // of the server, such as 150020
	bad       map[uint32][]string
	databases []*database
}

// Open opens one of the databases with the account.
type Open func(ctx context.Context, database string) (*pgx.Conn, error)

// Audit looks at what the account may do in some databases of a server.
func Audit(ctx context.Context, open Open, databases []string, p Policy) (*Report, error) {
	r := &Report{bad: make(map[uint32][]string)}
	for _, name := range databases {
		d, err := r.read(ctx, open, name, p)
		if err != nil {
			return nil, fmt.Errorf("look at the account in database %q: %w", name, err)
		}
		r.databases = append(r.databases, d)
	}
	if r.self == nil {
		return nil, errors.New("look at the account: no database is given")
	}
	r.attributes()
	for _, d := range r.databases {
		r.objects(d)
	}
	r.memberships()
	return r, nil
}

func (r *Report) read(ctx context.Context, open Open, name string, p Policy) (*database, error) {
	conn, err := open(ctx, name)
	if err != nil {
		return nil, err
	}
	d := &database{name: name}
	err = d.load(ctx, conn, r)
	if err == nil {
		d.protect(p)
		err = d.derive(ctx, conn)
	}
	return d, errors.Join(err, conn.Close(ctx))
}

func (r *Report) find(d *database, owner bool, format string, args ...any) {
	f := Finding{Owner: owner, Text: fmt.Sprintf(format, args...)}
	if d != nil {
		f.Database = d.name
	}
	if !slices.Contains(r.Findings, f) {
		r.Findings = append(r.Findings, f)
	}
}

// An attribute of a role, as ALTER ROLE has it.
type attribute struct {
	word string
	has  func(*role) bool
}

var attributes = []attribute{
	{"SUPERUSER", func(r *role) bool { return r.super }},
	{"CREATEROLE", func(r *role) bool { return r.createRole }},
	{"CREATEDB", func(r *role) bool { return r.createDB }},
	{"REPLICATION", func(r *role) bool { return r.replication }},
	{"BYPASSRLS", func(r *role) bool { return r.bypassRLS }},
}

// words are the attributes that a role should not have.
func (r *role) words() []string {
	var words []string
	for _, a := range attributes {
		if a.has(r) {
			words = append(words, a.word)
		}
	}
	return words
}

// attributes looks at what the account is, and at the roles that it is a member
// of that are it, or that the server gives its own privileges.
func (r *Report) attributes() {
	for _, word := range r.self.words() {
		r.find(nil, word == "SUPERUSER", "has the attribute %s", word)
	}
	for _, m := range r.reachable(r.self, nil) {
		if m == r.self {
			continue
		}
		for _, word := range m.words() {
			r.blame(m, nil, word == "SUPERUSER", "has the attribute %s", word)
		}
		if predefined(m.name) {
			r.blame(m, nil, false, "is predefined")
		}
	}
}

// predefined is whether a role is one of the server's own that lets its members
// read or do what was not granted to them.
func predefined(name string) bool {
	switch name {
	case "pg_checkpoint", "pg_use_reserved_connections", "pg_database_owner":
		return false
	}
	return strings.HasPrefix(name, "pg_")
}

// blame says that the account should not be a member of m.
func (r *Report) blame(m *role, d *database, owner bool, format string, args ...any) {
	why := fmt.Sprintf(format, args...)
	if !slices.Contains(r.bad[m.oid], why) {
		r.bad[m.oid] = append(r.bad[m.oid], why)
	}
	r.find(d, owner, "is a member of %s, which %s", printable(m.name), why)
}

// reachable are a role and those that it is a member of, directly or not, but
// for the memberships that without leaves out.
func (r *Report) reachable(from *role, without func(of *role) bool) []*role {
	all := []*role{from}
	for i := 0; i < len(all); i++ {
		for _, m := range all[i].memberOf {
			of := r.roles[m.role]
			if of == nil || slices.Contains(all, of) || all[i] == from && without != nil && without(of) {
				continue
			}
			all = append(all, of)
		}
	}
	return all
}

// isBad is whether a membership in a role gives what the account should not
// have.
func (r *Report) isBad(of *role) bool {
	return slices.ContainsFunc(r.reachable(of, nil), func(m *role) bool { return len(r.bad[m.oid]) > 0 })
}

// memberships adds no findings: blame did. It makes what the account keeps
// known to each database, once all are read.
func (r *Report) memberships() {
	before, after := r.reachable(r.self, nil), r.reachable(r.self, r.isBad)
	for _, d := range r.databases {
		d.before, d.after = newReach(r.self, before), newReach(r.self, after)
		d.after.super, d.after.moved = false, true
	}
}
