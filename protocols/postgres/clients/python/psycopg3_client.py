"""psycopg 3: typed values in both formats, transactions, prepared statements,
pipelines, cursors, errors, cancel, notifications, two-phase commit."""

import datetime
import decimal
import uuid

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from common import cancel_when_asleep, show


def connect(**options):
    return psycopg.connect("", **options)


KINDS = (
    1,
    -32768,
    2147483647,
    -9223372036854775808,
    0.1,
    decimal.Decimal("123456789012345678901.123456789"),
    True,
    "naïve 'quoted' \\ \n日本\t🐘",
    bytes(range(256)),
    Jsonb({"a": [1, None, "x"], "b": {"ü": 1.5}}),
    [1, None, -3],
    ["a,b", '"q"', None, "", "NULL"],
    datetime.date(2024, 2, 29),
    datetime.datetime(1999, 12, 31, 23, 59, 59, 999999),
    datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
    datetime.timedelta(days=3, seconds=7, microseconds=9),
    uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    None,
)


def code(run):
    try:
        run()
    except psycopg.Error as e:
        return type(e).__name__, e.sqlstate
    return "no error"


def types():
    with connect() as conn:
        conn.execute("SET TIME ZONE 'UTC'")
        conn.execute("INSERT INTO kinds VALUES (" + ", ".join(["%s"] * len(KINDS)) + ")", KINDS)
        for binary in False, True:
            cur = conn.cursor(binary=binary)
            cur.execute("SELECT * FROM kinds")
            row = cur.fetchone()
            show("types", binary, row, [(c.name, c.type_code, c.precision) for c in cur.description])
            show("equal", [a == b for a, b in zip(row, KINDS)])
        cur = conn.execute("SELECT %b::bytea, %t::text, length(%b::bytea)", (b"\0\xff", "x" * 3_000_000, b"\1" * 3_000_000))
        row = cur.fetchone()
        show("large", row[0].hex(), len(row[1]), row[2])
        show("nothing", conn.execute("").statusmessage, conn.execute("SELECT").rowcount)


def transactions():
    with connect() as conn:
        try:
            with conn.transaction():
                conn.execute("INSERT INTO items VALUES (1, 1, 'kept?')")
                raise psycopg.Rollback()
        except psycopg.Rollback:
            pass
        with conn.transaction():
            conn.execute("INSERT INTO items VALUES (2, 2, 'outer')")
            show("inner", code(lambda: nested(conn)))
        show("rows", conn.execute("SELECT * FROM items ORDER BY id").fetchall())
        conn.commit()
        conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        conn.read_only = True
        show("read-only", code(lambda: conn.execute("DELETE FROM items")), conn.info.transaction_status.name)
        conn.rollback()
        show("isolation", conn.execute("SHOW transaction_isolation").fetchone())
        conn.rollback()


def nested(conn):
    with conn.transaction():
        conn.execute("INSERT INTO items VALUES (3, 3, 'inner')")
        conn.execute("INSERT INTO items VALUES (2, 2, 'again')")


def prepared():
    with connect(autocommit=True) as conn:
        conn.prepare_threshold = 2
        for i in range(8):
            row = conn.execute("SELECT %s::int * 2, %s::text", (i, None if i % 2 else "t")).fetchone()
            show("prepared", row)
        show("known", conn.execute("SELECT count(*) FROM pg_prepared_statements", prepare=False).fetchone())
        with conn.cursor() as cur:
            cur.executemany("INSERT INTO items VALUES (%s, %s, %s) RETURNING id", [(i, i * i, f"n{i}") for i in range(10, 15)], returning=True)
            while True:
                show("many", cur.fetchall())
                if not cur.nextset():
                    break


def pipelines():
    with connect(autocommit=True) as conn:
        with conn.pipeline() as p:
            a = conn.execute("SELECT %s::int", (1,))
            b = conn.execute("INSERT INTO items VALUES (20, 20, 'piped') RETURNING note")
            p.sync()
            c = conn.execute("SELECT email FROM customers ORDER BY id")
            show("pipeline", a.fetchall(), b.fetchall(), c.fetchall())
        for bad in "SELECT 1/0", "SELECT * FROM vault":
            def run(bad=bad):
                with conn.pipeline():
                    conn.execute("INSERT INTO items VALUES (21, 21, 'lost') RETURNING id")
                    conn.execute(bad)
                    conn.execute("INSERT INTO items VALUES (22, 22, 'lost')")
            show("broken pipeline", code(run), conn.info.transaction_status.name)
            show("left", conn.execute("SELECT count(*) FROM items WHERE note = 'lost'").fetchone())


def cursors():
    with connect() as conn:
        with conn.cursor(name="big") as cur:
            cur.itersize = 700
            cur.execute("SELECT g, 'row ' || g FROM generate_series(1, 3000) g")
            show("server cursor", sum(1 for _ in cur), cur.rownumber)
        with conn.cursor(name="scrolling", scrollable=True) as cur:
            cur.execute("SELECT id, email FROM customers ORDER BY id")
            rows = [cur.fetchone(), cur.fetchmany(2)]
            cur.scroll(-2)
            show("scrolled", rows, cur.fetchall())
        cur = conn.cursor(name="held", withhold=True)
        cur.execute("SELECT generate_series(1, 5)")
        conn.commit()
        show("held", cur.fetchmany(3), cur.fetchmany(3))
        cur.close()


def errors():
    with connect() as conn:
        show("division", code(lambda: conn.execute("SELECT 1/0")), conn.info.transaction_status.name)
        show("failed", code(lambda: conn.execute("SELECT 1")))
        conn.rollback()
        show("duplicate", code(lambda: conn.execute("INSERT INTO items VALUES (2, 2, '')")))
        conn.rollback()
        show("syntax", code(lambda: conn.execute("SELEC 1")))
        conn.rollback()
        show("value", code(lambda: conn.execute("SELECT %s::int", ("x",))))
        conn.rollback()
        show("again", conn.execute("SELECT 'fine'").fetchone())


def refusals():
    with connect() as conn:
        show("refused", code(lambda: conn.execute("SELECT * FROM vault")), conn.info.transaction_status.name)
        show("failed", code(lambda: conn.execute("SELECT 1")))
        conn.rollback()
        conn.execute("INSERT INTO items VALUES (30, 30, 'before')")
        show("in a savepoint", code(lambda: refused_in_savepoint(conn)), conn.info.transaction_status.name)
        conn.commit()
        show("kept", conn.execute("SELECT note FROM items WHERE id = 30").fetchone())
        show("prepared", code(lambda: conn.execute("SELECT * FROM vault WHERE secret = %s", ("x",), prepare=True)))
        conn.rollback()
    with connect(autocommit=True) as conn:
        show("autocommit", code(lambda: conn.execute("SELECT * FROM vault")), conn.info.transaction_status.name)
        show("again", conn.execute("SELECT 'fine'").fetchone())


def refused_in_savepoint(conn):
    with conn.transaction():
        conn.execute("DELETE FROM vault")


def cancels():
    with connect() as conn:
        thread = cancel_when_asleep(conn.cancel, connect)
        show("cancelled", code(lambda: conn.execute("SELECT pg_sleep(60)")), conn.info.transaction_status.name)
        thread.join()
        conn.rollback()
        show("again", conn.execute("SELECT 'fine'").fetchone())


def notifications():
    with connect(autocommit=True) as listener, connect(autocommit=True) as other:
        heard = []
        listener.add_notice_handler(lambda d: heard.append((d.severity, d.sqlstate, d.message_primary, d.message_hint)))
        listener.execute("DO $$ BEGIN RAISE WARNING 'careful' USING HINT = 'look'; END $$")
        show("notices", heard)
        listener.execute("LISTEN news")
        other.execute("NOTIFY news, 'first'")
        other.execute("SELECT pg_notify('news', 'second')")
        got = []
        for n in listener.notifies():
            got.append((n.channel, n.payload))
            if len(got) == 2:
                break
        show("notified", got)
        listener.execute("UNLISTEN *")


def copies():
    with connect() as conn:
        conn.execute("CREATE TEMP TABLE copied (LIKE kinds)")
        with conn.cursor() as cur:
            with cur.copy("COPY copied (id, i8, num, txt, bin, texts, at, nothing) FROM STDIN") as copy:
                for i in range(1000):
                    copy.write_row((i, i << 32, decimal.Decimal(i) / 7, f"tab\t, line\n, back\\ {i}", bytes([i % 256]), ["a,b", None], KINDS[13], None))
            show("copied", cur.rowcount, cur.statusmessage)
            with cur.copy("COPY copied (id, i8, txt, bin) FROM STDIN (FORMAT binary)") as copy:
                copy.set_types(["int4", "int8", "text", "bytea"])
                for i in range(1000, 1100):
                    copy.write_row((i, -i, "binary", b"\0\xff"))
            with cur.copy("COPY copied (id, txt) FROM STDIN (FORMAT csv, HEADER)") as copy:
                copy.write('id,txt\n2000,"a ""quoted"" value, with a comma"\n')
                copy.write("2001,\n")
            for options in "", "(FORMAT csv, HEADER, FORCE_QUOTE *)", "(FORMAT binary)":
                with cur.copy(f"COPY (SELECT * FROM copied WHERE id < 3 OR id >= 1099 ORDER BY id) TO STDOUT {options}") as copy:
                    show("copy out", options, b"".join(copy).hex())
            for source in "customers", "customers (email, id)", "(SELECT upper(name), email FROM customers ORDER BY id)":
                for options in "", "(FORMAT csv)", "(FORMAT binary)":
                    with cur.copy(f"COPY {source} TO STDOUT {options}") as copy:
                        show("masked copy", source, options, b"".join(copy).hex())
            with cur.copy("COPY copied (id, i8, num) TO STDOUT") as copy:
                copy.set_types(["int4", "int8", "numeric"])
                show("rows", [row for row in copy.rows()][5:8])
        conn.commit()
        show("malformed", code(lambda: copy_in(conn, "COPY items FROM STDIN", "1\tno number\tx\n")), conn.info.transaction_status.name)
        conn.rollback()
        for statement, data in ("COPY vault FROM STDIN", "x\n"), ("COPY vault TO STDOUT", None):
            show("refused", code(lambda: copy_in(conn, statement, data)), conn.info.transaction_status.name)
            conn.rollback()
        show("given up", code(lambda: give_up(conn)), conn.info.transaction_status.name)
        conn.rollback()
        show("again", conn.execute("SELECT 'fine'").fetchone())


def copy_in(conn, statement, data):
    with conn.cursor().copy(statement) as copy:
        if data is not None:
            copy.write(data)
        else:
            show("got", list(copy))


def give_up(conn):
    try:
        with conn.cursor().copy("COPY items FROM STDIN") as copy:
            copy.write("1\t1\t")
            raise ValueError("the client changes its mind")
    except ValueError:
        pass


def two_phase():
    conn = connect()
    xid = conn.xid(1, "g", str(uuid.uuid4()))  # it must differ in the whole server
    conn.tpc_begin(xid)
    conn.execute("INSERT INTO items VALUES (40, 40, 'two-phase')")
    conn.tpc_prepare()
    conn.tpc_commit()
    conn.tpc_begin(xid)
    conn.execute("INSERT INTO items VALUES (41, 41, 'two-phase')")
    conn.tpc_prepare()
    conn.close()
    with connect() as conn:
        conn.tpc_rollback(xid)
        show("two-phase", conn.execute("SELECT id FROM items WHERE note = 'two-phase'").fetchall())


def settings():
    with connect() as conn:
        show("session", conn.info.encoding, conn.info.parameter_status("server_version"), conn.info.timezone is not None)
        conn.execute("SET LOCAL statement_timeout = '2s'")
        show("set", conn.execute("SHOW statement_timeout").fetchone())
        conn.rollback()
        show("reset", conn.execute("SHOW statement_timeout").fetchone())
        show("quoted", conn.execute(sql.SQL("SELECT {} AS {}").format(sql.Literal("it's"), sql.Identifier('a "b"'))).fetchone())


types()
transactions()
prepared()
pipelines()
cursors()
errors()
refusals()
cancels()
notifications()
copies()
two_phase()
settings()
with connect() as connection:
    show("masked", connection.execute("SELECT id, email, upper(name) FROM customers ORDER BY id").fetchall())
