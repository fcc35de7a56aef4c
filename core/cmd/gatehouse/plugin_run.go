package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/spf13/cobra"

	"gatehouse/core/event"
	"gatehouse/plugins/cases"
	"gatehouse/plugins/host"
	"gatehouse/protocols/postgres/statement"
)

func newPluginRun() *cobra.Command {
	var target string
	var groups []string
	var user string
	var rows int
	c := &cobra.Command{
		Use:   "run MODULE SQL",
		Short: "Ask a database, and print what comes back before and after a module",
		Long: `Ask a database, and print what comes back before and after a module. The statement
runs in a transaction that only reads and is rolled back, and only if the module
allows it. Fields have their columns as origins where they are columns of tables;
what views and expressions come from, only a gate finds out.`,
		Example: `  gatehouse plugin run tellers.wasm "SELECT * FROM customers" --target postgres://me@localhost/shop
  PGPASSWORD=secret gatehouse plugin run tellers.wasm "TABLE orders" --target "host=localhost dbname=shop" --group tellers`,
		Args: arguments("MODULE", "SQL"),
	}
	var flags moduleFlags
	flags.addSettings(c)
	flags.addGrants(c)
	c.Flags().StringVar(&target, "target", "", "the database, as a `URL` or as key=value pairs; the environment's PGHOST, PGPASSWORD, … count")
	c.Flags().StringVar(&user, "as", "agent@example.com", "who asks: a `name`")
	c.Flags().StringSliceVar(&groups, "group", nil, "a `group` of who asks; may be given several times")
	c.Flags().IntVar(&rows, "rows", 20, "how many rows are shown at most")
	c.RunE = func(c *cobra.Command, args []string) error {
		ctx := c.Context()
		return flags.with(ctx, args[0], func(h *host.Host, wasm, config []byte) error {
			p, err := h.Load(ctx, pluginName(args[0]), wasm, config)
			if err != nil {
				return err
			}
			session := &event.Session{
				ID: "run", Protocol: "postgres", Resource: "run",
				Principal: event.Principal{Issuer: "run", Subject: user, Name: user, Groups: groups},
			}
			s, err := p.Open(ctx, session)
			if err != nil {
				return err
			}
			w := c.OutOrStdout()
			if allowed, err := judgeSQL(ctx, w, s, session, args[1]); err != nil || !allowed {
				return err
			}
			head, values, err := askReadOnly(ctx, target, args[1], rows)
			if err != nil {
				return advise(err, "Name the database with --target postgres://user@host/database.")
			}
			fmt.Fprintln(w, "\nbefore")
			table(w, head, values)
			if s.Roles().Masker == nil {
				_, err = fmt.Fprintln(w, "\nThe plugin masks nothing.")
				return err
			}
			masked, err := cases.Mask(ctx, s, session, head, values)
			if err != nil {
				return err
			}
			fmt.Fprintln(w, "\nafter")
			table(w, head, masked)
			return nil
		})
	}
	return c
}

// judgeSQL prints the module's verdict on sql and reports whether it is to allow.
func judgeSQL(ctx context.Context, w io.Writer, s *host.Session, session *event.Session, sql string) (bool, error) {
	facts, err := statement.NewAnalyzer(statement.Limits{Instances: 1}).Analyze(ctx, sql)
	if err != nil {
		return false, err
	}
	judge := s.Roles().Judge
	if judge == nil {
		_, err := fmt.Fprintln(w, "The plugin judges nothing.")
		return true, err
	}
	v, err := judge.Judge(ctx, session, &event.Request{Operation: "query", Payload: []byte(sql), Statements: facts.Statements})
	if err != nil {
		return false, err
	}
	fmt.Fprintf(w, "verdict: %s", v.Action)
	if v.Rule != "" {
		fmt.Fprintf(w, " by %s", oneLine(v.Rule))
	}
	if v.Reason != "" {
		fmt.Fprintf(w, ": %s", oneLine(v.Reason))
	}
	for _, l := range v.Labels {
		fmt.Fprintf(w, "\nlabel: %s = %s", oneLine(l.Key), oneLine(l.Value))
	}
	_, err = fmt.Fprintln(w)
	return v.Action == event.Allow, err
}

// askReadOnly runs sql in a transaction that only reads, and returns at most so many
// rows as text.
func askReadOnly(ctx context.Context, target, sql string, most int) (head *event.Head, rows [][]*string, err error) {
	conn, err := pgx.Connect(ctx, target)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if undo := tx.Rollback(ctx); err == nil {
			err = undo
		}
	}()
	r := conn.PgConn().ExecParams(ctx, sql, nil, nil, nil, nil)
	fields := append([]pgconn.FieldDescription(nil), r.FieldDescriptions()...)
	for r.NextRow() {
		if len(rows) == most {
			continue
		}
		row := make([]*string, len(fields))
		for j, v := range r.Values() {
			if v != nil {
				text := string(v)
				row[j] = &text
			}
		}
		rows = append(rows, row)
	}
	if _, err := r.Close(); err != nil {
		return nil, nil, err
	}
	head = new(event.Head)
	types := pgtype.NewMap()
	for _, f := range fields {
		out := event.Field{Name: f.Name, Type: fmt.Sprintf("oid:%d", f.DataTypeOID)}
		if t, known := types.TypeForOID(f.DataTypeOID); known {
			out.Type = t.Name
		}
		if f.TableOID != 0 {
			var origin string
			err := tx.QueryRow(ctx, `SELECT n.nspname || '.' || c.relname || '.' || a.attname FROM pg_catalog.pg_class c
				JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
				JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = $2 WHERE c.oid = $1`,
				f.TableOID, int16(f.TableAttributeNumber)).Scan(&origin)
			if err != nil {
				return nil, nil, err
			}
			out.Origins, out.Lineage = []string{origin}, event.LineageExact
		}
		head.Fields = append(head.Fields, out)
	}
	return head, rows, nil
}

// table prints rows.
func table(out io.Writer, h *event.Head, rows [][]*string) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	names := make([]string, len(h.Fields))
	for j, f := range h.Fields {
		names[j] = oneLine(f.Name)
	}
	fmt.Fprintln(w, strings.Join(names, "\t"))
	for _, row := range rows {
		cells := make([]string, len(row))
		for j, v := range row {
			if cells[j] = "NULL"; v != nil {
				cells[j] = shorten(oneLine(*v), 60)
			}
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	w.Flush()
}
