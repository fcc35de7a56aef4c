import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.sql.Array;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.Date;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Timestamp;
import java.sql.Types;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.UUID;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.copy.CopyIn;
import org.postgresql.copy.CopyManager;
import org.postgresql.util.PGobject;

/**
 * JDBC: typed values by server-prepared statements in both formats, batches, fetch sizes, savepoints, metadata, errors,
 * cancel, notifications.
 */
public class Jdbc {
  interface Action {
    void run() throws SQLException;
  }

  static void show(String step, Object... values) {
    StringBuilder line = new StringBuilder("[" + quoted(step));
    for (Object v : values) {
      line.append(", ").append(json(v));
    }
    System.out.println(line.append("]"));
  }

  static String json(Object v) {
    if (v == null) {
      return "null";
    }
    if (v instanceof List<?> list) {
      return list.stream().map(Jdbc::json).toList().toString();
    }
    if (v instanceof Number || v instanceof Boolean) {
      return v.toString();
    }
    return quoted(v.toString());
  }

  static String quoted(String text) {
    StringBuilder b = new StringBuilder("\"");
    for (char c : text.toCharArray()) {
      if (c < ' ' || c == '"' || c == '\\') {
        b.append(String.format("\\u%04x", (int) c));
      } else {
        b.append(c);
      }
    }
    return b.append('"').toString();
  }

  static String code(Action action) {
    try {
      action.run();
      return "no error";
    } catch (BatchUpdateException e) {
      return "batch " + e.getSQLState() + " " + Arrays.toString(e.getUpdateCounts());
    } catch (SQLException e) {
      return e.getClass().getSimpleName() + " " + e.getSQLState();
    }
  }

  static Connection connect(String... more) throws SQLException {
    Properties p = new Properties();
    p.setProperty("user", System.getenv("PGUSER"));
    p.setProperty("password", System.getenv("PGPASSWORD"));
    p.setProperty("sslmode", System.getenv("PGSSLMODE"));
    p.setProperty("sslrootcert", System.getenv("PGSSLROOTCERT"));
    for (int i = 0; i < more.length; i += 2) {
      p.setProperty(more[i], more[i + 1]);
    }
    // The driver takes what stands behind the first slash as the database.
    return DriverManager.getConnection("jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/"
        + System.getenv("PGDATABASE").replace("/", "%2F"), p);
  }

  static List<List<Object>> rows(ResultSet r) throws SQLException {
    List<List<Object>> all = new ArrayList<>();
    while (r.next()) {
      List<Object> row = new ArrayList<>();
      for (int i = 1; i <= r.getMetaData().getColumnCount(); i++) {
        Object v = r.getObject(i);
        if (v instanceof byte[] b) {
          v = java.util.HexFormat.of().formatHex(b);
        } else if (v instanceof Array a) {
          v = Arrays.asList((Object[]) a.getArray());
        }
        row.add(v);
      }
      all.add(row);
    }
    return all;
  }

  static List<List<Object>> query(Connection c, String sql) throws SQLException {
    try (Statement s = c.createStatement(); ResultSet r = s.executeQuery(sql)) {
      return rows(r);
    }
  }

  static void run(Connection c, String sql) throws SQLException {
    try (Statement s = c.createStatement()) {
      s.execute(sql);
    }
  }

  static void types(Connection c) throws SQLException {
    run(c, "SET TIME ZONE 'UTC'");
    byte[] all = new byte[256];
    for (int i = 0; i < 256; i++) {
      all[i] = (byte) i;
    }
    PGobject doc = new PGobject();
    doc.setType("jsonb");
    doc.setValue("{\"a\": [1, null, \"ü\"]}");
    String sql = "INSERT INTO kinds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?::interval, ?, ?)";
    try (PreparedStatement s = c.prepareStatement(sql)) {
      for (int id = 1; id <= 8; id++) { // the driver changes to binary formats on the way
        Object[] values = {id, (short) -id, Integer.MAX_VALUE, Long.MIN_VALUE, 0.1 * id, new BigDecimal("12345678901234567890.123456789"), id % 2 == 0,
          "naïve 'quoted' \\ \n日本", all, doc, c.createArrayOf("int4", new Object[] {id, null, -3}),
          c.createArrayOf("text", new Object[] {"a,b", "\"q\"", null, ""}), LocalDate.of(2024, 2, 29),
          LocalDateTime.of(1999, 12, 31, 23, 59, 59, 999999000), OffsetDateTime.of(2026, 1, 2, 3, 4, 5, 0, ZoneOffset.UTC),
          "3 days 00:00:07", UUID.fromString("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")};
        for (int i = 0; i < values.length; i++) {
          s.setObject(i + 1, values[i]);
        }
        s.setNull(18, Types.VARCHAR);
        show("inserted", s.executeUpdate());
      }
    }
    try (PreparedStatement s = c.prepareStatement("SELECT * FROM kinds WHERE id = ?")) {
      for (int id = 1; id <= 8; id++) {
        s.setInt(1, id);
        try (ResultSet r = s.executeQuery()) {
          show("types", rows(r));
        }
      }
      ResultSetMetaData m = s.getMetaData();
      for (int i = 1; i <= m.getColumnCount(); i++) {
        show("column", m.getColumnName(i), m.getColumnTypeName(i), m.getColumnClassName(i), m.isNullable(i), m.getPrecision(i));
      }
      show("parameters", s.getParameterMetaData().getParameterTypeName(1));
    }
    try (PreparedStatement s = c.prepareStatement("SELECT ?::text, length(?::bytea)")) {
      s.setCharacterStream(1, new StringReader("z".repeat(3_000_000)), 3_000_000);
      s.setBytes(2, new byte[3_000_000]);
      try (ResultSet r = s.executeQuery()) {
        r.next();
        show("large", r.getString(1).length(), r.getInt(2));
      }
    }
  }

  static void batches(Connection c) throws SQLException {
    try (PreparedStatement s = c.prepareStatement("INSERT INTO items VALUES (?, ?, ?)", Statement.RETURN_GENERATED_KEYS)) {
      for (int i = 100; i < 400; i++) {
        s.setInt(1, i);
        s.setInt(2, i * i);
        s.setString(3, i % 3 == 0 ? null : "note " + i);
        s.addBatch();
      }
      show("batch", Arrays.stream(s.executeBatch()).sum(), rows(s.getGeneratedKeys()).size());
      for (int i : new int[] {500, 501, 100, 502}) {
        s.setInt(1, i);
        s.setInt(2, 0);
        s.setString(3, "batch with a duplicate");
        s.addBatch();
      }
      show("duplicate in a batch", code(s::executeBatch), query(c, "SELECT count(*) FROM items WHERE id >= 500"));
    }
    try (Statement s = c.createStatement()) {
      s.addBatch("INSERT INTO items VALUES (600, 1, 'mixed')");
      s.addBatch("DELETE FROM vault");
      s.addBatch("INSERT INTO items VALUES (601, 1, 'mixed')");
      show("refused in a batch", code(s::executeBatch), query(c, "SELECT count(*) FROM items WHERE id >= 600"));
      show("several results", s.execute("SELECT 1; UPDATE items SET n = 1 WHERE id < 102; SELECT 2"), s.getMoreResults(), s.getUpdateCount(), s.getMoreResults());
    }
  }

  static void transactions(Connection c) throws SQLException {
    c.setAutoCommit(false);
    run(c, "INSERT INTO items VALUES (1, 1, 'lost')");
    c.rollback();
    run(c, "INSERT INTO items VALUES (2, 2, 'kept')");
    Savepoint p = c.setSavepoint("here");
    show("duplicate", code(() -> run(c, "INSERT INTO items VALUES (2, 2, 'twice')")), code(() -> query(c, "SELECT 1")));
    c.rollback(p);
    c.releaseSavepoint(p);
    Savepoint q = c.setSavepoint();
    show("refused", code(() -> query(c, "SELECT * FROM vault")), code(() -> query(c, "SELECT 1")));
    c.rollback(q);
    c.commit();
    show("rows", query(c, "SELECT * FROM items WHERE id < 10"));
    run(c, "INSERT INTO items VALUES (3, 3, 'lost')");
    show("refused", code(() -> run(c, "UPDATE vault SET secret = ''")));
    show("commit", code(c::commit));
    c.rollback();
    show("rows", query(c, "SELECT * FROM items WHERE id < 10"));
    c.commit();
    c.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
    c.setReadOnly(true);
    show("read-only", query(c, "SHOW transaction_isolation"), code(() -> run(c, "DELETE FROM items")));
    c.rollback();
    c.setReadOnly(false);
    c.setAutoCommit(true);
  }

  static void cursors(Connection c) throws SQLException {
    c.setAutoCommit(false);
    try (PreparedStatement s = c.prepareStatement("SELECT g, 'row ' || g FROM generate_series(1, ?) g")) {
      s.setInt(1, 2500);
      s.setFetchSize(300);
      for (int i = 0; i < 2; i++) {
        long sum = 0;
        try (ResultSet r = s.executeQuery()) {
          while (r.next()) {
            sum += r.getLong(1);
          }
        }
        show("fetched", sum);
      }
      s.setMaxRows(10);
      show("at most", rows(s.executeQuery()).size());
    }
    try (Statement s = c.createStatement(ResultSet.TYPE_SCROLL_INSENSITIVE, ResultSet.CONCUR_UPDATABLE);
        ResultSet r = s.executeQuery("SELECT id, n, note FROM items WHERE id < 104 ORDER BY id")) {
      r.absolute(2);
      r.updateString("note", "updated in place");
      r.updateRow();
      r.last();
      show("scrolled", r.getRow(), r.getInt("id"));
    }
    show("updated", query(c, "SELECT * FROM items WHERE note = 'updated in place'"));
    c.commit();
    c.setAutoCommit(true);
  }

  static void copies(Connection c) throws Exception {
    CopyManager copy = c.unwrap(PGConnection.class).getCopyAPI();
    StringBuilder rows = new StringBuilder();
    for (int i = 5000; i < 9000; i++) {
      rows.append(i).append(",").append(i).append(",\"copied, \"\"").append(i).append("\"\"\"\n");
    }
    show("copied", copy.copyIn("COPY items FROM STDIN (FORMAT csv)", new StringReader(rows.toString())));
    StringWriter out = new StringWriter();
    show("copy out", copy.copyOut("COPY (SELECT * FROM items WHERE id BETWEEN 5000 AND 5003 ORDER BY id) TO STDOUT", out), out);
    StringWriter masked = new StringWriter();
    show("masked copy", copy.copyOut("COPY customers TO STDOUT (FORMAT csv, HEADER)", masked), masked);
    ByteArrayOutputStream binary = new ByteArrayOutputStream();
    copy.copyOut("COPY customers (id, email) TO STDOUT (FORMAT binary)", binary);
    show("masked copy", java.util.HexFormat.of().formatHex(binary.toByteArray()));
    show("refused", code(() -> copy.copyOut("COPY vault TO STDOUT")), code(() -> copy.copyIn("COPY vault FROM STDIN")));
    CopyIn half = copy.copyIn("COPY items FROM STDIN");
    half.writeToCopy("1\t".getBytes(), 0, 2);
    half.cancelCopy();
    show("again", query(c, "SELECT count(*) FROM items WHERE id >= 5000"));
  }

  static void metadata(Connection c) throws SQLException {
    DatabaseMetaData m = c.getMetaData();
    show("server", m.getDatabaseProductName(), m.getDatabaseMajorVersion());
    List<Object> columns = new ArrayList<>();
    try (ResultSet r = m.getColumns(null, "public", "kinds", null)) {
      while (r.next()) {
        columns.add(r.getString("COLUMN_NAME") + " " + r.getString("TYPE_NAME") + " " + r.getString("IS_NULLABLE"));
      }
    }
    show("columns", columns);
    try (ResultSet r = m.getPrimaryKeys(null, "public", "items")) {
      r.next();
      show("key", r.getString("COLUMN_NAME"));
    }
    try (ResultSet r = m.getTables(null, "public", "%", new String[] {"TABLE"})) {
      List<Object> tables = new ArrayList<>();
      while (r.next()) {
        tables.add(r.getString("TABLE_NAME"));
      }
      show("tables", tables);
    }
    try (ResultSet r = m.getTypeInfo()) {
      int n = 0;
      while (r.next()) {
        n++;
      }
      show("types", n > 0);
    }
  }

  static void cancels(Connection c) throws Exception {
    Statement s = c.createStatement();
    Thread canceller = new Thread(() -> {
      try (Connection watcher = connect()) {
        String sql = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND wait_event = 'PgSleep'";
        while (query(watcher, sql).isEmpty()) {
          Thread.onSpinWait();
        }
        s.cancel();
      } catch (SQLException e) {
        show("canceller", e.toString());
      }
    });
    canceller.start();
    show("cancelled", code(() -> s.execute("SELECT pg_sleep(60)")));
    canceller.join();
    s.setQueryTimeout(1);
    show("timed out", code(() -> s.execute("SELECT pg_sleep(60)")));
    s.setQueryTimeout(0);
    show("again", query(c, "SELECT 'fine'"));
  }

  static void notifications(Connection c) throws SQLException {
    run(c, "LISTEN news");
    try (Connection other = connect()) {
      run(other, "NOTIFY news, 'from another'");
    }
    PGNotification[] got = null;
    while (got == null || got.length == 0) {
      got = c.unwrap(PGConnection.class).getNotifications(10_000);
    }
    show("notified", got.length, got[0].getName(), got[0].getParameter());
    try (Statement s = c.createStatement()) {
      s.execute("DO $$ BEGIN RAISE NOTICE 'hello'; END $$");
      show("warning", s.getWarnings().getMessage(), s.getWarnings().getSQLState());
    }
  }

  public static void main(String[] args) throws Exception {
    try (Connection c = connect()) {
      types(c);
      batches(c);
      transactions(c);
      cursors(c);
      copies(c);
      metadata(c);
      cancels(c);
      notifications(c);
      show("function", query(c, "SELECT * FROM pg_get_keywords() LIMIT 1").size());
      try (var call = c.prepareCall("{? = call upper(?)}")) {
        call.registerOutParameter(1, Types.VARCHAR);
        call.setString(2, "called");
        call.execute();
        show("call", call.getString(1));
      }
    }
    // What drivers behind a pooler are told to use, and the driver's own default for the rest.
    for (String mode : new String[] {"simple", "extendedForPrepared", "extendedCacheEverything"}) {
      try (Connection c = connect("preferQueryMode", mode);
          PreparedStatement s = c.prepareStatement("SELECT id, name, email FROM customers WHERE id >= ? ORDER BY id")) {
        for (int i = 1; i <= 7; i++) {
          s.setInt(1, i % 3);
          show("masked", mode, rows(s.executeQuery()));
        }
        show("refused", code(() -> query(c, "SELECT * FROM vault")), query(c, "SELECT 'fine'"));
      }
    }
    try (Connection c = connect("adaptiveFetch", "true", "defaultRowFetchSize", "10", "autosave", "always")) {
      c.setAutoCommit(false);
      show("autosave", code(() -> run(c, "SELECT 1/0")), code(() -> query(c, "SELECT * FROM vault")), query(c, "SELECT count(*) FROM generate_series(1, 1000)"));
      c.commit();
    }
  }
}
