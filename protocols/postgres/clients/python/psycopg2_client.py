"""psycopg2: typed values, transactions, prepared statements by SQL, cursors,
errors, cancel, notifications, two-phase commit."""

import datetime
import decimal
import io
import select
import uuid

import psycopg2
import psycopg2.extensions
import psycopg2.extras

from common import cancel_when_asleep, show

psycopg2.extras.register_uuid()


def connect(**options):
    return psycopg2.connect("", **options)


def code(run):
    try:
        run()
    except psycopg2.Error as e:
        return type(e).__name__, e.pgcode
    return "no error"


KINDS = (
    2,
    32767,
    -2147483648,
    9223372036854775807,
    1e300,
    decimal.Decimal("-0.000000001"),
    False,
    "naïve 'quoted' \\ \n日本\t🐘",
    psycopg2.Binary(bytes(range(256))),
    psycopg2.extras.Json({"a": [1, None, "x"]}),
    [],
    ["a,b", '"q"', None, "", "NULL"],
    datetime.date(1, 1, 1),
    datetime.datetime(1999, 12, 31, 23, 59, 59, 999999),
    datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
    datetime.timedelta(days=-3, seconds=7),
    uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    None,
)


def types(conn):
    with conn, conn.cursor() as cur:
        cur.execute("SET TIME ZONE 'UTC'")
        cur.execute("INSERT INTO kinds VALUES (" + ", ".join(["%s"] * len(KINDS)) + ")", KINDS)
        cur.execute("SELECT * FROM kinds WHERE id = 2")
        row = cur.fetchone()
        show("types", [bytes(v).hex() if isinstance(v, memoryview) else v for v in row])
        show("description", [(c.name, c.type_code, c.internal_size) for c in cur.description])
        # The driver puts values into the statement's text, which the gate bounds.
        cur.execute("SELECT %s", ("y" * 900_000,))
        show("large", len(cur.fetchone()[0]))


def transactions(conn):
    with conn.cursor() as cur:
        cur.execute("INSERT INTO items VALUES (1, 1, 'lost')")
        conn.rollback()
        cur.execute("INSERT INTO items VALUES (2, 2, 'kept')")
        cur.execute("SAVEPOINT s")
        show("duplicate", code(lambda: cur.execute("INSERT INTO items VALUES (2, 3, 'twice')")))
        show("failed", code(lambda: cur.execute("SELECT 1")), conn.get_transaction_status())
        cur.execute("ROLLBACK TO SAVEPOINT s")
        cur.execute("RELEASE SAVEPOINT s")
        conn.commit()
        cur.execute("SELECT * FROM items")
        show("rows", cur.fetchall(), cur.rowcount, cur.statusmessage)
        conn.commit()


def statements(conn):
    with conn, conn.cursor() as cur:
        cur.execute("PREPARE twice (int) AS SELECT $1 * 2")
        for i in range(5):
            cur.execute("EXECUTE twice (%s)", (i,))
            show("prepared", cur.fetchone())
        cur.execute("DEALLOCATE twice")
        psycopg2.extras.execute_values(cur, "INSERT INTO items VALUES %s RETURNING id", [(i, i, None) for i in range(10, 40)], page_size=7)
        psycopg2.extras.execute_batch(cur, "UPDATE items SET n = n + %s WHERE id = %s", [(i, i) for i in range(10, 40)], page_size=9)
        cur.execute("SELECT sum(n) FROM items; SELECT count(*) FROM items")
        show("several", cur.fetchall())


def cursors(conn):
    with conn, conn.cursor("big") as cur:
        cur.itersize = 700
        cur.execute("SELECT g FROM generate_series(1, 3000) g")
        show("server cursor", sum(r[0] for r in cur))
    with conn, conn.cursor("scrolling", scrollable=True) as cur:
        cur.execute("SELECT id, email FROM customers ORDER BY id")
        rows = cur.fetchmany(2)
        cur.scroll(-1)
        show("scrolled", rows, cur.fetchall())
    with conn, conn.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cur:
        cur.execute("SELECT id, name, email FROM customers ORDER BY id")
        show("masked", cur.fetchall())


def refusals(conn):
    with conn.cursor() as cur:
        show("refused", code(lambda: cur.execute("SELECT * FROM vault")), conn.get_transaction_status())
        show("failed", code(lambda: cur.execute("SELECT 1")))
        conn.rollback()
        cur.execute("INSERT INTO items VALUES (50, 50, 'before')")
        show("refused", code(lambda: cur.execute("SELECT 1; TABLE vault; INSERT INTO items VALUES (51, 51, 'after')")))
        show("commit", code(conn.commit))
        cur.execute("SELECT id FROM items WHERE id >= 50")
        show("undone", cur.fetchall())
        conn.commit()
    conn.autocommit = True
    with conn.cursor() as cur:
        show("refused", code(lambda: cur.execute("TRUNCATE vault")), conn.get_transaction_status())
        cur.execute("SELECT 'fine'")
        show("again", cur.fetchone())
        show("division", code(lambda: cur.execute("SELECT 1/0")))
    conn.autocommit = False


def cancels(conn):
    with conn.cursor() as cur:
        thread = cancel_when_asleep(conn.cancel, connect)
        show("cancelled", code(lambda: cur.execute("SELECT pg_sleep(60)")))
        thread.join()
        conn.rollback()


def notifications(conn):
    conn.autocommit = True
    with conn.cursor() as cur:
        cur.execute("DO $$ BEGIN RAISE NOTICE 'hello'; END $$")
        show("notices", conn.notices)
        cur.execute("LISTEN news")
        cur.execute("NOTIFY news, 'own'")
        while not conn.notifies:
            select.select([conn], [], [], 30)
            conn.poll()
        show("notified", [(n.channel, n.payload, n.pid == conn.info.backend_pid) for n in conn.notifies])
    conn.autocommit = False


def copies(conn):
    with conn, conn.cursor() as cur:
        cur.copy_from(io.StringIO("".join(f"{i}\t{i * i}\tcopied\n" for i in range(5000, 9000))), "items", columns=("id", "n", "note"))
        cur.execute("SELECT count(*), sum(n) FROM items WHERE note = 'copied'")
        show("copied", cur.fetchone())
        out = io.StringIO()
        cur.copy_to(out, "customers", sep="|", null="<null>")
        cur.copy_expert("COPY (SELECT id, email FROM customers ORDER BY id) TO STDOUT WITH (FORMAT csv, HEADER)", out)
        show("masked copy", out.getvalue())
    with conn.cursor() as cur:
        show("duplicate", code(lambda: cur.copy_from(io.StringIO("5000\t1\tx\n"), "items")))
        conn.rollback()
        show("refused", code(lambda: cur.copy_expert("COPY vault TO STDOUT", io.StringIO())))
        conn.rollback()


def two_phase(conn):
    conn.tpc_begin(conn.xid(1, "g", "classic"))
    with conn.cursor() as cur:
        cur.execute("INSERT INTO items VALUES (60, 60, 'two-phase')")
    conn.tpc_prepare()
    conn.tpc_commit()
    with conn, conn.cursor() as cur:
        cur.execute("SELECT id FROM items WHERE note = 'two-phase'")
        show("two-phase", cur.fetchall())


connection = connect()
types(connection)
transactions(connection)
statements(connection)
cursors(connection)
refusals(connection)
cancels(connection)
notifications(connection)
copies(connection)
two_phase(connection)
show("reset", code(connection.reset), connection.server_version > 0)
connection.close()
