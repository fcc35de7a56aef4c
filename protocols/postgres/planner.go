package postgres

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A planner asks one server for plans, over a connection that can only read and
// waits for nothing long.
type planner struct {
	asking turn // taken while conn is used
	conn   *pgx.Conn
	path   string // search_path that conn has; empty for the one that sessions begin with
}

func (p *planner) close() {
	giveUp(p.conn)
	p.conn = nil
}

// plan asks how a statement would run, once before, which prepares it, has run; it
// may be empty.
func (c *catalog) plan(ctx context.Context, path, before, sql string, m *bind, st *prepared) ([]planned, error) {
	p := &c.planner
	if err := p.asking.take(ctx); err != nil {
		return nil, fmt.Errorf("ask for an estimate: %w", err)
	}
	defer p.asking.give()
	ctx, cancel := context.WithTimeout(ctx, catalogTimeout)
	defer cancel()
	if p.conn == nil || p.conn.IsClosed() {
		conn, err := c.resource.newest(c.address).connect(ctx, c.database, c.address)
		if err != nil {
			return nil, fmt.Errorf("open a connection for estimates: %w", err)
		}
		limits := fmt.Sprintf("SET default_transaction_read_only = on; SET statement_timeout = %d; SET lock_timeout = %d",
			estimateTimeout.Milliseconds(), estimateLocked.Milliseconds())
		if _, err := conn.Exec(ctx, limits); err != nil {
			giveUp(conn)
			return nil, fmt.Errorf("open a connection for estimates: %w", err)
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
			return nil, fmt.Errorf("set the search path: %w", err)
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
	if before != "" {
		defer func() {
			if p.conn != nil && p.conn.PgConn().Exec(ctx, "DEALLOCATE ALL").Close() != nil {
				p.close()
			}
		}()
		if err := p.conn.PgConn().ExecParams(ctx, before, nil, nil, nil, nil).Read().Err; err != nil {
			return nil, fmt.Errorf("prepare: %w", err)
		}
	}
	got := p.conn.PgConn().ExecParams(ctx, "EXPLAIN (FORMAT JSON) "+sql, params, oids, formats, nil).Read()
	if got.Err != nil {
		return nil, fmt.Errorf("explain: %w", got.Err)
	}
	var plans []planned
	if len(got.Rows) != 1 || len(got.Rows[0]) != 1 {
		return nil, fmt.Errorf("explain: %d rows", len(got.Rows))
	}
	if err := json.Unmarshal(got.Rows[0][0], &plans); err != nil {
		return nil, fmt.Errorf("explain: %w", err)
	}
	return plans, nil
}

// A planned is what EXPLAIN says of a statement.
type planned struct{ Plan plan }

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
