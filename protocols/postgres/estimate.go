package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/event"
	"gatehouse/protocols/postgres/statement"
)

// estimateAttr is the attribute of a request that says how many rows it would
// write, as the server estimates it.
const estimateAttr = "db.estimated_rows"

// Limits of one estimate.
const (
	estimateTimeout = 250 * time.Millisecond
	maxEstimated    = 64 << 10 // of a statement and its parameters, in bytes
)

// estimate returns how many rows facts, the text of which is sql, would write
// with the parameters of m, which may be nil. It is empty where nothing is
// written, or at most one row, and where the server cannot be asked: planning
// runs functions, so that all of them must be the server's own.
func (s *session) estimate(ctx context.Context, facts *statement.Result, list []event.Statement, sql string, m *bind, st *prepared) string {
	if len(sql) > maxEstimated || !writesRows(list) || !planned(list) {
		return ""
	}
	path, known := s.settings.searched()
	if !known {
		return ""
	}
	total, asked := 0.0, false
	for i := range facts.Len() {
		top, all := facts.Statements[facts.Top(i)], facts.Statements[facts.Top(i):facts.End(i)]
		if !writesRows(all) || slices.ContainsFunc(all, func(st event.Statement) bool { return st.Scope == event.ScopeAll }) {
			continue // what restricts no rows needs no estimate, and does not reach the server by one
		}
		if target, columns := facts.Pinned(i); len(columns) > 0 && s.unique(ctx, target, columns) {
			continue
		}
		start, end := facts.Span(sql, i)
		query := sql[start:end]
		switch top.Kind {
		case "INSERT", "UPDATE", "DELETE", "MERGE", "SELECT":
		case "EXPLAIN", "COPY":
			query = statement.Inner(query)
		default:
			continue
		}
		n, err := s.catalog.estimate(ctx, path, query, m, st)
		if err != nil {
			return unknown
		}
		total, asked = total+n, true
	}
	if !asked {
		return ""
	}
	return strconv.FormatFloat(total, 'f', 0, 64)
}

// writesRows reports whether statements change rows that a query finds.
func writesRows(list []event.Statement) bool {
	return slices.ContainsFunc(list, func(st event.Statement) bool {
		switch st.Kind {
		case "UPDATE", "DELETE", "MERGE":
			return st.Runs && !slices.Contains(st.Options, "CURRENT OF")
		case "INSERT":
			return st.Runs && slices.Contains(st.Options, "SELECT")
		}
		return false
	})
}

// planned reports whether the server runs no code but its own when it plans
// statements, which are expanded. It does not plan triggers.
func planned(list []event.Statement) bool {
	inserts := slices.ContainsFunc(list, func(st event.Statement) bool { return st.Kind == "INSERT" || st.Kind == "MERGE" })
	aside := make([]bool, len(list))
	for i := range list {
		st := &list[i]
		aside[i] = st.Parent >= 0 && st.Parent < i && aside[st.Parent] || st.Within == "rule" && !inserts
		if !aside[i] && (st.Opaque || st.Within == "function") {
			return false
		}
	}
	return true
}

// unique reports whether columns that a statement compares with values are, or
// contain, a key of the table.
func (s *session) unique(ctx context.Context, table event.Object, columns []string) bool {
	u := use{identifies, table.Schema, table.Name, s.path(ctx)}
	answers, err := s.catalog.code(ctx, []use{u})
	return err == nil && slices.ContainsFunc(answers[u], func(key code) bool {
		return !slices.ContainsFunc(strings.Split(key.sql, "\x01"), func(c string) bool { return !slices.Contains(columns, c) })
	})
}

// A planner asks one server for plans, over a connection that can only read and
// waits for nothing long.
type planner struct {
	mu   sync.Mutex // held while conn is used
	conn *pgx.Conn
	path string // search_path that conn has; empty for the one that sessions begin with
}

func (p *planner) close() {
	giveUp(p.conn)
	p.conn = nil
}

// estimate asks how many rows a statement would write.
func (c *catalog) estimate(ctx context.Context, path, sql string, m *bind, st *prepared) (float64, error) {
	p := &c.planner
	p.mu.Lock()
	defer p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, catalogTimeout)
	defer cancel()
	if p.conn == nil || p.conn.IsClosed() {
		conn, err := c.resource.newest(c.address).connect(ctx, c.database, c.address)
		if err != nil {
			return 0, fmt.Errorf("open a connection for estimates: %w", err)
		}
		limits := fmt.Sprintf("SET default_transaction_read_only = on; SET statement_timeout = %d; SET lock_timeout = %[1]d", estimateTimeout.Milliseconds())
		if _, err := conn.Exec(ctx, limits); err != nil {
			giveUp(conn)
			return 0, fmt.Errorf("open a connection for estimates: %w", err)
		}
		p.conn, p.path = conn, "pg_catalog" // as connect sets it
	}
	if path != p.path {
		set, args := "RESET search_path", []any(nil)
		if path != "" {
			set, args = "SELECT pg_catalog.set_config('search_path', $1, false)", []any{path}
		}
		if _, err := p.conn.Exec(ctx, set, args...); err != nil {
			p.close()
			return 0, fmt.Errorf("set the search path: %w", err)
		}
		p.path = path
	}
	var params [][]byte
	var formats []int16
	var oids []uint32
	if m != nil {
		params = m.params
		for i := range params {
			formats = append(formats, int16(m.format(i)))
			oids = append(oids, st.oid(i))
		}
	}
	got := p.conn.PgConn().ExecParams(ctx, "EXPLAIN (FORMAT JSON) "+sql, params, oids, formats, nil).Read()
	if got.Err != nil {
		return 0, fmt.Errorf("explain: %w", got.Err)
	}
	var plans []struct{ Plan plan }
	if len(got.Rows) != 1 || len(got.Rows[0]) != 1 {
		return 0, fmt.Errorf("explain: %d rows", len(got.Rows))
	}
	if err := json.Unmarshal(got.Rows[0][0], &plans); err != nil {
		return 0, fmt.Errorf("explain: %w", err)
	}
	n := 0.0
	for i := range plans {
		n += plans[i].Plan.writes()
	}
	return n, nil
}

// A plan is a node of what EXPLAIN says.
type plan struct {
	Type         string  `json:"Node Type"`
	Relationship string  `json:"Parent Relationship"`
	Rows         float64 `json:"Plan Rows"`
	Plans        []plan
}

// writes adds up the rows that the plan's nodes write.
func (p *plan) writes() (n float64) {
	for i := range p.Plans {
		child := &p.Plans[i]
		if p.Type == "ModifyTable" && (child.Relationship == "Outer" || child.Relationship == "Member") {
			n += child.Rows
		}
		n += child.writes()
	}
	return n
}
