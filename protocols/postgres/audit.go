package postgres

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"gatehouse/protocols/postgres/account"
)

// Audit looks at what the resource's account may do beyond a policy, on the
// server that a session would get and in every database that clients can open.
func (r *Resource) Audit(ctx context.Context, p account.Policy) (*account.Report, error) {
	u, err := r.dial(ctx, r.Database, nil, nil, func(Address, error) {})
	if err != nil {
		return nil, err
	}
	u.conn.Close()
	open := func(ctx context.Context, database string) (*pgx.Conn, error) {
		return r.connect(ctx, database, u.address)
	}
	databases := append([]string{r.Database}, r.Databases...)
	if slices.Contains(databases, "*") {
		conn, err := open(ctx, r.Database)
		if err != nil {
			return nil, err
		}
		defer conn.Close(ctx)
		rows, err := conn.Query(ctx, `SELECT datname FROM pg_catalog.pg_database
			WHERE datallowconn AND pg_catalog.has_database_privilege(oid, 'CONNECT') ORDER BY datname <> $1, datname`, r.Database)
		if err != nil {
			return nil, err
		}
		if databases, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
			return nil, err
		}
	}
	return account.Audit(ctx, open, databases, p)
}
