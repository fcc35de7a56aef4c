package clients_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/lib/pq"

	"gatehouse/protocols/postgres/clients/internal/lab"
)

type printer = func(step string, values ...any)

// code is what a Go client sees of an error: its SQLSTATE.
func code(err error) string {
	var state interface {
		error
		SQLState() string
	}
	switch {
	case err == nil:
		return "no error"
	case errors.As(err, &state):
		return state.SQLState()
	}
	return err.Error()
}

// asleep waits until a session of the database sleeps.
func asleep(ctx context.Context, query func(ctx context.Context, sql string) (int, error)) error {
	for {
		n, err := query(ctx, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND wait_event = 'PgSleep'")
		if n > 0 || err != nil {
			return err
		}
	}
}

var pgxKinds = []any{int16(-32768), int32(1 << 30), int64(-1 << 63), 0.1, pgtype.Numeric{Int: big.NewInt(123456789), Exp: -5, Valid: true}, true,
	"naïve 'quoted' \\ \n日本\t🐘", []byte{0, 1, 255}, map[string]any{"a": []any{1.0, nil, "x"}}, []*int32{new(int32), nil}, []string{"a,b", `"q"`, "", "NULL"},
	time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC), time.Date(1999, 12, 31, 23, 59, 59, 999999000, time.UTC),
	time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), pgtype.Interval{Days: 3, Microseconds: 7, Valid: true}, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", nil}

func pgxClient(ctx context.Context, w lab.Way, show printer) error {
	for i, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
		pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
		config, err := pgx.ParseConfig(w.String())
		if err != nil {
			return err
		}
		config.DefaultQueryExecMode = mode
		config.RuntimeParams["timezone"] = "UTC"
		if err := pgxMode(ctx, config, i, show); err != nil {
			return fmt.Errorf("%s: %w", mode, err)
		}
	}
	config, err := pgxpool.ParseConfig(w.String())
	if err != nil {
		return err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	for _, step := range []func(context.Context, *pgxpool.Pool, printer) error{pgxPipeline, pgxCancel, pgxNotify, pgxLargeObject, pgxCopy} {
		if err := step(ctx, pool, show); err != nil {
			return err
		}
	}
	return nil
}

// pgxMode does what every mode of executing queries can.
func pgxMode(ctx context.Context, config *pgx.ConnConfig, id int, show printer) error {
	c, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	marks := make([]string, len(pgxKinds)+1)
	for i := range marks {
		marks[i] = fmt.Sprintf("$%d", i+1)
	}
	_, err = c.Exec(ctx, "INSERT INTO kinds VALUES ("+strings.Join(marks, ", ")+")", append([]any{id}, pgxKinds...)...)
	show("insert", id, code(err))
	for range 2 { // the second time without a description
		rows, err := c.Query(ctx, "SELECT * FROM kinds WHERE id = $1", id)
		if err != nil {
			return err
		}
		values, err := pgx.CollectRows(rows, pgx.RowToMap)
		show("types", values, code(err))
		var email string
		err = c.QueryRow(ctx, "SELECT email FROM customers WHERE id = $1", 1).Scan(&email)
		show("masked", email, code(err))
	}
	tx, err := c.Begin(ctx)
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, "INSERT INTO items VALUES ($1, $2, 'outer')", id, id)
	show("outer", code(err))
	inner, err := tx.Begin(ctx)
	if err != nil {
		return err
	}
	_, err = inner.Exec(ctx, "SELECT * FROM vault WHERE secret <> $1", "x")
	show("refused", code(err))
	_, err = inner.Exec(ctx, "SELECT 1")
	show("failed", code(err), code(inner.Rollback(ctx)))
	_, err = tx.Exec(ctx, "INSERT INTO items VALUES ($1, 0, 'again')", id)
	show("duplicate", code(err), c.PgConn().TxStatus())
	show("commit", code(tx.Commit(ctx)))
	var batch pgx.Batch
	batch.Queue("INSERT INTO items VALUES ($1, $2, 'batch')", 100+id, id)
	batch.Queue("SELECT n, note FROM items WHERE id = $1", 100+id).QueryRow(func(r pgx.Row) error {
		var n int
		var note string
		err := r.Scan(&n, &note)
		show("batch", n, note)
		return err
	})
	show("batch", code(c.SendBatch(ctx, &batch).Close()))
	var refused pgx.Batch
	refused.Queue("INSERT INTO items VALUES ($1, $2, 'undone')", 200+id, id)
	refused.Queue("SELECT secret FROM vault")
	refused.Queue("SELECT 'never'")
	show("refused", code(c.SendBatch(ctx, &refused).Close()))
	rows, err := c.Query(ctx, "SELECT id FROM items ORDER BY id")
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	show("rows", ids, code(err))
	return nil
}

// pgxPipeline sends ahead, with synchronisation points of its own.
func pgxPipeline(ctx context.Context, pool *pgxpool.Pool, show printer) error {
	return pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
		p := c.Conn().PgConn().StartPipeline(ctx)
		p.SendPrepare("s", "SELECT $1::int + 1", nil)
		p.SendQueryPrepared("s", [][]byte{[]byte("1")}, nil, nil)
		p.SendQueryParams("SELECT * FROM vault", nil, nil, nil, nil)
		p.SendQueryPrepared("s", [][]byte{[]byte("2")}, nil, nil)
		show("pipeline", code(p.Sync()))
		p.SendQueryPrepared("s", [][]byte{[]byte("3")}, nil, nil)
		p.SendDeallocate("s")
		show("pipeline", code(p.Sync()))
		for {
			r, err := p.GetResults()
			if r == nil && err == nil {
				break
			}
			switch r := r.(type) {
			case *pgconn.ResultReader:
				read := r.Read()
				show("result", read.Rows, read.CommandTag.String(), code(read.Err))
			default:
				show("result", fmt.Sprintf("%T", r), code(err))
			}
		}
		return p.Close()
	})
}

func pgxCancel(ctx context.Context, pool *pgxpool.Pool, show printer) error {
	return pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
		done := make(chan error, 1)
		go func() {
			err := asleep(ctx, func(ctx context.Context, sql string) (n int, err error) {
				err = pool.QueryRow(ctx, sql).Scan(&n)
				return n, err
			})
			done <- errors.Join(err, c.Conn().PgConn().CancelRequest(ctx))
		}()
		_, err := c.Exec(ctx, "SELECT pg_sleep(60)")
		show("cancelled", code(err))
		if err := <-done; err != nil {
			return err
		}
		_, err = c.Exec(ctx, "SELECT 1")
		show("again", code(err))
		return nil
	})
}

func pgxNotify(ctx context.Context, pool *pgxpool.Pool, show printer) error {
	return pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
		if _, err := c.Exec(ctx, "LISTEN news"); err != nil {
			return err
		}
		if _, err := pool.Exec(ctx, "SELECT pg_notify('news', $1)", "hello"); err != nil {
			return err
		}
		n, err := c.Conn().WaitForNotification(ctx)
		if err != nil {
			return err
		}
		show("notified", n.Channel, n.Payload)
		return nil
	})
}

func pgxLargeObject(ctx context.Context, pool *pgxpool.Pool, show printer) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		los := tx.LargeObjects()
		oid, err := los.Create(ctx, 0)
		if err != nil {
			return err
		}
		o, err := los.Open(ctx, oid, pgx.LargeObjectModeRead|pgx.LargeObjectModeWrite)
		if err != nil {
			return err
		}
		n, err := io.Copy(o, strings.NewReader(strings.Repeat("large ", 50_000)))
		show("written", n, code(err))
		at, err := o.Seek(-6, io.SeekEnd)
		show("at", at, code(err))
		rest, err := io.ReadAll(o)
		show("rest", string(rest), code(err), code(los.Unlink(ctx, oid)))
		return nil
	})
}

func pgxCopy(ctx context.Context, pool *pgxpool.Pool, show printer) error {
	n, err := pool.CopyFrom(ctx, pgx.Identifier{"items"}, []string{"id", "n", "note"}, pgx.CopyFromSlice(3000, func(i int) ([]any, error) {
		return []any{5000 + i, i, "copied"}, nil
	}))
	show("copied", n, code(err))
	n, err = pool.CopyFrom(ctx, pgx.Identifier{"items"}, []string{"id"}, pgx.CopyFromRows([][]any{{5000}}))
	show("duplicate", n, code(err))
	_, err = pool.CopyFrom(ctx, pgx.Identifier{"vault"}, []string{"secret"}, pgx.CopyFromRows([][]any{{"x"}}))
	show("refused", code(err))
	return pool.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
		for _, options := range []string{"", "(FORMAT csv)", "(FORMAT binary)"} {
			var out bytes.Buffer
			tag, err := c.Conn().PgConn().CopyTo(ctx, &out, "COPY customers TO STDOUT "+options)
			show("masked copy", options, out.Bytes(), tag.String(), code(err))
		}
		var sum int
		err := c.QueryRow(ctx, "SELECT sum(n) FROM items WHERE note = 'copied'").Scan(&sum)
		show("sum", sum, code(err))
		return nil
	})
}

func pqClient(ctx context.Context, w lab.Way, show printer) error {
	db, err := sql.Open("postgres", w.String())
	if err != nil {
		return err
	}
	defer db.Close()
	for _, step := range []func(context.Context, *sql.DB, printer) error{pqTypes, pqTransactions, pqCopy, pqCancel} {
		if err := step(ctx, db, show); err != nil {
			return err
		}
	}
	return pqNotify(w, db, show)
}

func pqTypes(ctx context.Context, db *sql.DB, show printer) error {
	insert, err := db.PrepareContext(ctx, `INSERT INTO kinds (id, i2, i8, f8, num, flag, txt, bin, doc, ints, texts, day, atz, uid, nothing)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`)
	if err != nil {
		return err
	}
	defer insert.Close()
	for i := range 3 {
		_, err := insert.ExecContext(ctx, i, -i, 1<<40, 0.5, "123456789012345678901.123456789", i == 1, "naïve ' \\ 日本", []byte{0, 255},
			`{"a": [1, null]}`, pq.Array([]sql.NullInt64{{Int64: 1, Valid: true}, {}}), pq.Array([]string{"a,b", `"q"`}),
			time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", nil)
		show("insert", code(err))
	}
	rows, err := db.QueryContext(ctx, "SELECT i2, i8, f8, num, flag, txt, bin, doc, texts, day, atz AT TIME ZONE 'UTC', uid, nothing FROM kinds WHERE id >= $1 ORDER BY id", 1)
	if err != nil {
		return err
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return err
	}
	for _, t := range types {
		show("column", t.Name(), t.DatabaseTypeName())
	}
	for rows.Next() {
		values := make([]any, len(types))
		into := make([]any, len(types))
		for i := range values {
			into[i] = &values[i]
		}
		show("row", code(rows.Scan(into...)), values)
	}
	show("rows", code(rows.Err()))
	several, err := db.QueryContext(ctx, "SELECT id, email FROM customers WHERE id = 1; SELECT 2")
	if err != nil {
		return err
	}
	defer several.Close()
	var id int
	var email string
	show("masked", several.Next(), code(several.Scan(&id, &email)), email, several.Next(), several.NextResultSet(), several.Next(), code(several.Scan(&id)), id)
	return several.Close()
}

func pqTransactions(ctx context.Context, db *sql.DB, show printer) error {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
	if err != nil {
		return err
	}
	exec := func(step, sql string, args ...any) {
		_, err := tx.ExecContext(ctx, sql, args...)
		show(step, code(err))
	}
	exec("insert", "INSERT INTO items VALUES ($1, 1, 'kept')", 1)
	exec("savepoint", "SAVEPOINT s")
	exec("duplicate", "INSERT INTO items VALUES (1, 1, 'twice')")
	exec("failed", "SELECT 1")
	exec("back", "ROLLBACK TO s")
	exec("refused", "SELECT * FROM vault WHERE secret = $1", "x")
	exec("failed", "SELECT $1::int", 1)
	exec("back", "ROLLBACK TO s")
	show("commit", code(tx.Commit()))
	if tx, err = db.BeginTx(ctx, nil); err != nil {
		return err
	}
	exec("insert", "INSERT INTO items VALUES (2, 2, 'lost')")
	exec("refused", "DELETE FROM vault")
	show("rollback", code(tx.Rollback()))
	var n int
	show("rows", code(db.QueryRowContext(ctx, "SELECT count(*) FROM items").Scan(&n)), n)
	_, err = db.ExecContext(ctx, "TRUNCATE vault")
	show("refused", code(err))
	return nil
}

func pqCopy(ctx context.Context, db *sql.DB, show printer) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	stmt, err := tx.PrepareContext(ctx, "COPY items (id, n, note) FROM STDIN")
	if err != nil {
		return err
	}
	for i := range 2000 {
		if _, err := stmt.ExecContext(ctx, 5000+i, i, "tab\t, line\n"); err != nil {
			return err
		}
	}
	_, err = stmt.ExecContext(ctx)
	show("copied", code(err), code(stmt.Close()))
	var n, sum int
	err = tx.QueryRowContext(ctx, "SELECT count(*), sum(n) FROM items WHERE note = E'tab\\t, line\\n'").Scan(&n, &sum)
	show("sum", n, sum, code(err))
	_, err = tx.PrepareContext(ctx, "COPY vault (secret) FROM STDIN")
	show("refused", code(err), code(tx.Rollback()))
	return nil
}

// pqCancel ends a statement by its context, upon which the driver sends a
// CancelRequest.
func pqCancel(ctx context.Context, db *sql.DB, show printer) error {
	limited, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- asleep(ctx, func(ctx context.Context, sql string) (n int, err error) {
			err = db.QueryRowContext(ctx, sql).Scan(&n)
			return n, err
		})
		cancel()
	}()
	_, err := db.ExecContext(limited, "SELECT pg_sleep(60)")
	show("cancelled", code(err))
	if err := <-done; err != nil {
		return err
	}
	return db.PingContext(ctx)
}

func pqNotify(w lab.Way, db *sql.DB, show printer) error {
	l := pq.NewListener(w.String(), time.Second, time.Minute, nil)
	defer l.Close()
	if err := l.Listen("news"); err != nil {
		return err
	}
	if _, err := db.Exec("NOTIFY news, 'hello'"); err != nil {
		return err
	}
	n := <-l.Notify
	show("notified", n.Channel, n.Extra, code(l.Ping()), code(l.Unlisten("news")))
	return nil
}
