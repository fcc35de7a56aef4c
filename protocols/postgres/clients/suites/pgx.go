package main

import (
	_ "embed"
	"fmt"

	"gatehouse/protocols/postgres/clients/internal/lab"
)

//go:embed pgx.exceptions
var pgxExceptions string

// pgx is github.com/jackc/pgx, at the version that the gate uses itself. The
// database is as its testsetup/postgresql_setup.sql makes it.
//
// What has its own environment variables, which are not set, is skipped either
// way: SCRAM with channel binding, client certificates and Unix sockets, which
// are about a server's own door, and other servers than PostgreSQL.
var pgx = suite{
	name:       "pgx",
	module:     "github.com/jackc/pgx/v5",
	exceptions: pgxExceptions,
	sql: `CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE DOMAIN uint64 AS numeric(20,0);
		DO $$ BEGIN
			IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname LIKE ' tricky%') THEN
				CREATE USER " tricky, ' } "" \\ test user " SUPERUSER PASSWORD 'secret';
			END IF;
		END $$`,
	// These build messages of a gigabyte and reach no server.
	args:     []string{"-skip", "^Test(Query|Bind)BiggerThanMaxMessageBodyLen$"},
	settings: map[string]string{"log_statement": "none", "max_prepared_transactions": "10"},
	env: func(w lab.Way) []string {
		plain := fmt.Sprintf("host=127.0.0.1 port=%d user=%s password=%s dbname=%s sslmode=disable", w.Port, w.User, w.Password, w.Database)
		return []string{
			"PGX_TEST_DATABASE=" + plain, "PGX_TEST_TCP_CONN_STRING=" + plain, "PGX_TEST_PLAIN_PASSWORD_CONN_STRING=" + plain,
			"PGX_TEST_TLS_CONN_STRING=" + w.String(),
		}
	},
}
