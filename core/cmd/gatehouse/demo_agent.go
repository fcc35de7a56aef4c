package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"text/tabwriter"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// What the scripted agent sends.
const (
	customersQuery  = "SELECT name, email, card, ssn, notes FROM customers WHERE id % 5 = 0 ORDER BY id LIMIT 3"
	updateStatement = "UPDATE accounts SET balance = balance - 250 WHERE id = 7"
)

// An agent is a client of the gate with an unchanged PostgreSQL driver.
type agent struct {
	conn    *pgx.Conn
	session string      // the recording's id
	held    chan string // the ids of approvals that it was told to wait for
}

var heldNotice = regexp.MustCompile(`approval #?([A-Z2-7]{8})`)

// connect opens a session of the agent through the gate.
func (d *demo) connect(ctx context.Context) (*agent, error) {
	token, err := d.issuer.Mint(d.agent().Claims())
	if err != nil {
		return nil, err
	}
	return d.connectWith(ctx, token)
}

func (d *demo) connectWith(ctx context.Context, token string) (*agent, error) {
	c, err := pgx.ParseConfig(fmt.Sprintf("host=localhost port=%d dbname=shop user=agent sslmode=verify-full sslrootcert='%s'",
		d.ports.gate, d.path("ca.crt")))
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	a := &agent{held: make(chan string, 8)}
	c.Password = token
	c.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if m := heldNotice.FindStringSubmatch(n.Message); m != nil {
			a.held <- m[1]
		}
	}
	before, err := d.newest(ctx)
	if err != nil {
		return nil, err
	}
	if a.conn, err = pgx.ConnectConfig(ctx, c); err != nil {
		return nil, err
	}
	if a.session, err = d.newest(ctx); err == nil && a.session == before {
		err = fmt.Errorf("the session is not recorded")
	}
	return a, err
}

func (a *agent) close(ctx context.Context) error { return a.conn.Close(ctx) }

// exec sends one statement as psql does.
func (a *agent) exec(ctx context.Context, sql string) error {
	_, err := a.conn.PgConn().Exec(ctx, sql).ReadAll()
	return err
}

// rows returns what a query answers, as text.
func (a *agent) rows(ctx context.Context, sql string) (columns []string, rows [][]string, err error) {
	results, err := a.conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, nil, err
	}
	for _, r := range results {
		columns = nil
		for _, f := range r.FieldDescriptions {
			columns = append(columns, f.Name)
		}
		for _, cells := range r.Rows {
			row := make([]string, len(cells))
			for i, c := range cells {
				if row[i] = string(c); c == nil {
					row[i] = "NULL"
				}
			}
			rows = append(rows, row)
		}
	}
	return columns, rows, nil
}

func (a *agent) printStatement(w io.Writer, sql string) { fmt.Fprintf(w, "  shop=> %s;\n", sql) }

// printRows sends a query and prints the rows.
func (a *agent) printRows(ctx context.Context, w io.Writer, sql string) error {
	a.printStatement(w, sql)
	columns, rows, err := a.rows(ctx, sql)
	if err != nil {
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{columns}, rows...) {
		for _, cell := range row {
			fmt.Fprintf(t, "  %s\t", cell)
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}

// newest returns the id of the newest recording, "" if there is none.
func (d *demo) newest(ctx context.Context) (string, error) {
	list, err := d.gate.recorder.Reader().List(ctx, newestQuery)
	if err != nil || len(list) == 0 {
		return "", err
	}
	return list[0].ID, nil
}
