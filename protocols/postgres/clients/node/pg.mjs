// node-postgres with pg-cursor and pg-query-stream: typed values, named
// statements, pools, cursors, streams, errors, cancel, notifications.

import fs from "node:fs";
import pg from "pg";
import Cursor from "pg-cursor";
import QueryStream from "pg-query-stream";
import { code, show } from "./common.mjs";

// The rest is libpq's environment.
const ssl = { ca: fs.readFileSync(process.env.PGSSLROOTCERT, "utf8") };
const connect = async () => {
  const c = new pg.Client({ ssl });
  await c.connect();
  return c;
};

const client = await connect();
const rows = async (text, values) => (await client.query(text, values)).rows;

await client.query("SET TIME ZONE 'UTC'");
const values = [
  1, -32768, 2147483647, "-9223372036854775808", 0.1, "123456789012345678901.123456789", true, "naïve 'quoted' \\ \n日本\t🐘",
  Buffer.from(Array.from({ length: 256 }, (_, i) => i)), { a: [1, null, "x"] }, [1, null, -3], ["a,b", '"q"', null, "", "NULL"],
  "2024-02-29", "1999-12-31 23:59:59.999999", new Date(Date.UTC(2026, 0, 2, 3, 4, 5)), "3 days 00:00:07",
  "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", null,
];
await client.query(`INSERT INTO kinds VALUES (${values.map((_, i) => `$${i + 1}`).join(", ")})`, values);
const kinds = await client.query("SELECT * FROM kinds");
show("types", kinds.rows, kinds.fields.map((f) => [f.name, f.dataTypeID, f.format]));
const binary = await client.query({ text: "SELECT i2, i4, i8, f8, flag, txt, bin FROM kinds", binary: true });
show("binary", binary.rows, binary.fields.map((f) => f.format));
show("array mode", (await client.query({ text: "SELECT 1 AS a, 2 AS a", rowMode: "array" })).rows);
const large = await rows("SELECT $1::text AS t, length($2::bytea) AS n", ["x".repeat(3_000_000), Buffer.alloc(3_000_000)]);
show("large", large[0].t.length, large[0].n);
show("nothing", (await client.query("")).command, (await client.query("-- comment")).rowCount);

for (let i = 0; i < 5; i++) {
  show("named", await rows({ name: "twice", text: "SELECT $1::int * 2 AS n", values: [i] }));
}
show("another text", await code(client.query({ name: "twice", text: "SELECT 3" })));
show("several", (await client.query("SELECT 1 AS a; INSERT INTO items VALUES (1, 1, 'one'); SELECT 2 AS b")).map((r) => [r.command, r.rowCount, r.rows]));

await client.query("BEGIN");
await client.query("INSERT INTO items VALUES (2, 2, 'kept')");
await client.query("SAVEPOINT s");
show("duplicate", await code(client.query("INSERT INTO items VALUES ($1, 0, NULL)", [2])), await code(client.query("SELECT 1")));
await client.query("ROLLBACK TO s");
show("refused", await code(client.query("SELECT * FROM vault")), await code(client.query("SELECT $1::int", [1])));
await client.query("ROLLBACK TO s");
await client.query("COMMIT");
await client.query("BEGIN");
await client.query("DELETE FROM items");
show("refused", await code(client.query("SELECT * FROM vault WHERE secret = $1", ["x"])), (await client.query("COMMIT")).command);
show("rows", await rows("SELECT * FROM items ORDER BY id"));
show("refused", await code(client.query("TRUNCATE vault")), await rows("SELECT 'fine' AS again"));
show("division", await code(client.query("SELECT 1/$1::int", [0])), await code(client.query("SELEC 1")));
// Queued at once, as programs do that do not wait.
show("queued", await Promise.all([1, 2, 0, 3].map((n) => rows("SELECT 6/$1::int AS n", [n]).then((r) => r[0].n, (e) => e.code))));

const cursor = client.query(new Cursor("SELECT g FROM generate_series(1, $1::int) g", [10]));
show("cursor", await cursor.read(4), await cursor.read(4), await cursor.read(4), await cursor.read(4));
await cursor.close();
const half = client.query(new Cursor("SELECT id, email FROM customers ORDER BY id"));
show("half a cursor", await half.read(1));
await half.close();
show("broken cursor", await code(client.query(new Cursor("SELECT * FROM vault")).read(1)), await rows("SELECT 'fine' AS again"));
let sum = 0;
for await (const row of client.query(new QueryStream("SELECT g FROM generate_series(1, 3000) g", [], { batchSize: 100 }))) sum += row.g;
show("stream", sum);

const notices = [];
client.on("notice", (n) => notices.push([n.severity, n.code, n.message]));
await client.query("DO $$ BEGIN RAISE NOTICE 'hello'; END $$");
show("notices", notices);
const heard = new Promise((resolve) => client.once("notification", (n) => resolve([n.channel, n.payload])));
await client.query("LISTEN news");
const other = await connect();
await other.query("NOTIFY news, 'from another'");
show("notified", await heard);

const asleep = client.query("SELECT pg_sleep(60)");
const watch = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND wait_event = 'PgSleep'";
while ((await other.query(watch)).rows.length === 0);
// The client's own way: a connection that only sends the key.
const canceller = new pg.Client({ ssl });
canceller.connection.on("error", () => {});
canceller.cancel(client, client.activeQuery ?? client._activeQuery);
show("cancelled", await code(asleep), await rows("SELECT 'fine' AS again"));
await other.end();

const pool = new pg.Pool({ ssl, max: 3 });
const answers = await Promise.all(Array.from({ length: 30 }, (_, i) => pool.query("SELECT $1::int AS i, pg_sleep(0)", [i])));
show("pool", answers.map((r) => r.rows[0].i), pool.totalCount);
await pool.end();

show("masked", await rows("SELECT id, name, email FROM customers ORDER BY id"), await rows({ name: "m", text: "SELECT email FROM customers WHERE id = $1", values: [2] }));
await client.end();
