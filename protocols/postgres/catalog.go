package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgproto3/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"gatehouse/core/event"
)

// CatalogAge is how old a name that the gate remembers from a server's
// catalogue may be: a table that was renamed by a session that did not pass
// the gate is known by its old name for so long.
const CatalogAge = 10 * time.Second

// catalogTimeout bounds one question to the catalogue.
const catalogTimeout = 5 * time.Second

// catalogLockTimeout bounds how long a question waits for a table that somebody
// else has locked, while those of other sessions wait for it: definitions are
// only told under a lock. A client's own open transaction may have it.
const catalogLockTimeout = "250ms"

// catalogPause is how long the gate waits until it tries again to open a
// catalogue that it could not open.
const catalogPause = time.Second

// What a catalogue remembers is bounded; beyond that it starts afresh.
const (
	maxOrigins = 100_000
	maxHeads   = 4096
	maxKept    = 8 << 20
)

// A head is a result's description: for the pipeline, and for reading rows.
type head struct {
	event.Head
	oids    []uint32
	formats []int16
	// origins are where the fields come from, where that was looked up.
	origins []origin
	// generated are the indexes of the fields that are generated columns, as
	// far as they are known.
	generated []int

	// columns and reading are what the fields were found out by, where columns
	// are protected; of those of a COPY that is what described was.
	columns   []column
	reading   *reading
	described *head
}

// A column is where a field comes from: a table and a column of it by number.
type column struct {
	table  uint32
	number uint16
}

// A catalog answers questions about one database of one server over the gate's own
// connection, never inside a client's transaction. It is safe for concurrent
// use; it asks one question at a time.
type catalog struct {
	resource *Resource
	database string
	address  Address

	asking turn // taken while conn is used
	conn   *pgx.Conn
	failed error     // to open conn
	after  time.Time // when that is tried again

	planner planner

	mu         sync.Mutex
	first      naming // what sessions begin with, once there was a connection
	firstSince time.Time
	origins    map[column]origin
	heads      map[string]*head     // by RowDescription, and what the text tells of it
	functions  map[uint32]*function // that were called by the fast path
	tables     map[string][]table   // by name without a schema
	columns    map[event.Object][]namedColumn
	types      map[uint32]byte // categories of the database's own types
	kept       int             // bytes of the keys of heads
	old        *time.Timer     // forgets all when the oldest of them is too old
	changing   int             // statements in open transactions that change definitions: nothing is kept meanwhile
	codes      map[use][]code
	changes    uint64 // counts how often all of it was dropped
	// expansions are what statements and the code that they run do.
	expansions map[expanded][]event.Statement
	words      *vocabulary
	own        *dictionary // PostgreSQL's own functions, which do not change
	tainted    uint64      // the version of the taints that it is all remembered with

	standing atomic.Pointer[standing] // nil where what is remembered may not count any more
}

// A standing is what is remembered while it counts, for those who only ask whether
// it still does.
type standing struct {
	changes, tainted uint64
	words            atomic.Pointer[vocabulary] // nil before somebody asked for it
}

// stands returns the standing that counts, or nil where that is not certain.
func (c *catalog) stands() *standing {
	st := c.standing.Load()
	if st == nil || st.tainted != c.resource.taints.now() {
		return nil
	}
	return st
}

// A turn is one at a time at something that takes as long as the network does.
// Who waits for it can give up, which nobody could who waits for a mutex.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

// take waits for the turn until ctx ends.
func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// give lets the next one take it.
func (t turn) give() { <-t }

// catalogs are those of a resource, by database and server: servers that stand
// in for each other need not number their tables alike.
type catalogs struct {
	mu sync.Mutex
	m  map[catalogKey]*catalog
}

type catalogKey struct {
	database string
	address  Address
}

func (c *catalogs) of(r *Resource, database string, a Address) *catalog {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = map[catalogKey]*catalog{}
	}
	k := catalogKey{database, a}
	if c.m[k] == nil {
		c.m[k] = &catalog{resource: r, database: database, address: a, asking: newTurn(), planner: planner{asking: newTurn()}}
	}
	return c.m[k]
}

// close closes the connections once the questions under way are answered. Later
// ones open them again.
func (c *catalogs) close() {
	c.mu.Lock()
	all := slices.Collect(maps.Values(c.m))
	c.mu.Unlock()
	for _, cat := range all {
		cat.forget()
		_ = cat.asking.take(context.Background()) // which does not end
		cat.disconnect()
		cat.asking.give()
		_ = cat.planner.asking.take(context.Background())
		cat.planner.close()
		cat.planner.asking.give()
	}
}

// forget drops all names, because a definition may have changed.
func (c *catalog) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.origins, c.heads, c.functions, c.kept = nil, nil, nil, 0
	c.columns, c.types, c.tables = nil, nil, nil
	c.standing.Store(nil)
	if c.old != nil {
		c.old.Stop()
	}
}

// change says that a statement changes definitions, in a transaction after which
// settle is called with the number of them. Until then nothing that is remembered
// counts: who asks meanwhile holds a lock on what it has described, so that the
// answer is about just that.
func (c *catalog) change() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changing++
	c.standing.Store(nil)
}

// unsettled is whether an open transaction of any session changes definitions: a
// statement that waits for it is read by what they are then.
func (c *catalog) unsettled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changing > 0
}

func (c *catalog) settle(n int) {
	c.mu.Lock()
	c.changing -= n
	c.mu.Unlock()
	c.forget()
}

// fresh drops what counts no more. The caller holds mu.
func (c *catalog) fresh() {
	tainted := c.resource.taints.now()
	if c.origins == nil || c.tainted != tainted || c.changing > 0 || len(c.origins) > maxOrigins || len(c.heads) > maxHeads || len(c.columns)+len(c.tables) > maxHeads || c.kept > maxKept {
		if c.old == nil {
			c.old = time.AfterFunc(CatalogAge, c.forget)
		}
		c.old.Reset(CatalogAge)
		c.origins, c.heads, c.kept = map[column]origin{}, map[string]*head{}, 0
		c.functions, c.tables = map[uint32]*function{}, map[string][]table{}
		c.columns = map[event.Object][]namedColumn{}
		c.types = map[uint32]byte{}
		c.codes, c.expansions, c.words = map[use][]code{}, map[expanded][]event.Statement{}, nil
		c.changes++
		c.tainted = tainted
		if c.changing == 0 {
			c.standing.Store(&standing{changes: c.changes, tainted: tainted})
		}
	}
}

// describeRows reads a RowDescription and finds the fields' origins. What the
// text tells of them is r, which may be nil.
func (s *session) describeRows(ctx context.Context, f []byte, r *reading) (*head, error) {
	body := f[frameHeader:]
	key := body
	if r != nil {
		key = r.key(append(s.rows.key[:0], body...))
		s.rows.key = key
	}
	c := s.catalog
	c.mu.Lock()
	c.fresh()
	h, generation := c.heads[string(key)], c.changes
	c.mu.Unlock()
	if h != nil {
		return h, nil
	}
	h, columns, err := readHead(body)
	if err != nil {
		return nil, err
	}
	if err := c.resolve(ctx, columns, h); err != nil {
		return nil, &endError{refusal{code: codeInternal, message: "gatehouse: the result's origins cannot be determined"}, err}
	}
	if r != nil {
		r.apply(h, columns)
		h.columns, h.reading = columns, r
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh()
	if c.changes == generation && c.heads[string(key)] == nil {
		c.heads[string(key)] = h
		c.kept += len(key)
	}
	return h, nil
}

// readHead reads the body of a RowDescription.
func readHead(body []byte) (*head, []column, error) {
	var m pgproto3.RowDescription
	if err := m.Decode(body); err != nil {
		return nil, nil, violated("malformed RowDescription")
	}
	rest := len(body) - 2
	for _, d := range m.Fields {
		rest -= len(d.Name) + 1 + 18
	}
	if rest != 0 {
		return nil, nil, violated("malformed RowDescription")
	}
	h := &head{}
	columns := make([]column, len(m.Fields))
	for i, d := range m.Fields {
		h.Fields = append(h.Fields, event.Field{Name: string(d.Name), Type: typeName(d.DataTypeOID)})
		h.oids, h.formats = append(h.oids, d.DataTypeOID), append(h.formats, d.Format)
		columns[i] = column{d.TableOID, d.TableAttributeNumber}
	}
	h.setAttr()
	return h, columns, nil
}

// typeNames are PostgreSQL's own types. The map is not changed once made.
var typeNames = sync.OnceValue(pgtype.NewMap)

var typeNamesMu sync.Mutex

// typeName returns the name of a type of PostgreSQL's own, or "oid:N".
func typeName(oid uint32) string {
	typeNamesMu.Lock()
	defer typeNamesMu.Unlock()
	if t, ok := typeNames().TypeForOID(oid); ok {
		return t.Name
	}
	return fmt.Sprintf("oid:%d", oid)
}

// resolve sets the origin and lineage of each field of h.
func (c *catalog) resolve(ctx context.Context, columns []column, h *head) error {
	origins, err := c.learn(ctx, columns)
	if err != nil {
		return err
	}
	if err := c.standIns(ctx, h); err != nil {
		return err
	}
	for i, col := range columns {
		o := origins[col]
		h.Fields[i].Origins, h.Fields[i].Lineage = slices.Clip(o.names), o.lineage
		h.origins = append(h.origins, o)
		if o.generated {
			h.generated = append(h.generated, i)
		}
	}
	return nil
}

// standIns puts the types that stand in for a database's own in their places.
func (c *catalog) standIns(ctx context.Context, h *head) error {
	var missing []uint32
	found := make(map[uint32]byte)
	c.mu.Lock()
	c.fresh()
	for _, oid := range h.oids {
		if category, known := c.types[oid]; known {
			found[oid] = category
		} else if oid >= firstUserOID {
			missing = append(missing, oid)
		}
	}
	generation := c.changes
	c.mu.Unlock()
	if len(missing) > 0 {
		var learnt map[uint32]byte
		err := c.ask(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
			learnt, err = loadTypes(ctx, conn, missing)
			return err
		})
		if err != nil {
			return err
		}
		maps.Copy(found, learnt)
		c.mu.Lock()
		if c.fresh(); c.changes == generation {
			maps.Copy(c.types, learnt)
		}
		c.mu.Unlock()
	}
	for i, oid := range h.oids {
		h.oids[i] = standIn(oid, found[oid])
	}
	return nil
}

// learn returns the origins of columns, and asks for those that are not known
// yet. A column that the gate's connection cannot see, of a table that is not
// committed yet, stays unknown.
func (c *catalog) learn(ctx context.Context, columns []column) (map[column]origin, error) {
	found := make(map[column]origin, len(columns))
	var tables []uint32
	c.mu.Lock()
	c.fresh()
	for _, col := range columns {
		if o, known := c.origins[col]; known {
			found[col] = o
		} else if col.table != 0 {
			tables = append(tables, col.table)
		}
	}
	generation := c.changes
	c.mu.Unlock()
	if len(tables) == 0 {
		return found, nil
	}
	learnt := map[column]origin{}
	err := c.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		m, err := c.load(ctx, conn, slices.Clone(tables))
		if err != nil {
			return err
		}
		clear(learnt)
		for _, oid := range tables {
			for number := range m[oid].columns {
				col := column{oid, number}
				learnt[col] = m.origin(col)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, col := range columns {
		if o, known := learnt[col]; known {
			found[col] = o
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fresh(); c.changes == generation {
		maps.Copy(c.origins, learnt)
	}
	return found, nil
}

// ask runs f with the gate's own connection, which it opens, and opens again
// once if it was lost.
func (c *catalog) ask(ctx context.Context, f func(context.Context, *pgx.Conn) error) error {
	asker := ctx
	if err := c.asking.take(ctx); err != nil {
		return fmt.Errorf("ask the catalogue of resource %s: %w", c.resource.Name, err)
	}
	defer c.asking.give()
	ctx, cancel := context.WithTimeout(ctx, catalogTimeout)
	defer cancel()
	for attempt := 0; ; attempt++ {
		if c.conn == nil && time.Now().Before(c.after) {
			return c.failed
		}
		if c.conn == nil {
			if err := c.open(ctx); err != nil {
				if asker.Err() == nil {
					c.failed, c.after = err, time.Now().Add(catalogPause)
				}
				return err
			}
		}
		err := f(ctx, c.conn)
		if err == nil {
			return nil
		}
		lost := c.conn.IsClosed()
		c.disconnect()
		if !lost || attempt > 0 || ctx.Err() != nil {
			return fmt.Errorf("ask the catalogue of resource %s: %w", c.resource.Name, err)
		}
	}
}

// open opens the connection and looks what sessions begin with. The caller has
// taken asking.
func (c *catalog) open(ctx context.Context) error {
	conn, err := c.resource.newest(c.address).connect(ctx, c.database, c.address)
	if err != nil {
		return fmt.Errorf("open the catalogue of resource %s: %w", c.resource.Name, err)
	}
	first, err := newNaming(ctx, conn)
	if err == nil {
		err = askQuickly(ctx, conn)
	}
	if err != nil {
		giveUp(conn)
		return fmt.Errorf("open the catalogue of resource %s: %w", c.resource.Name, err)
	}
	c.mu.Lock()
	c.first, c.firstSince = first, time.Now()
	c.mu.Unlock()
	c.conn = conn
	return nil
}

// disconnect closes the connection. The caller has taken asking.
func (c *catalog) disconnect() {
	giveUp(c.conn)
	c.conn = nil
}

// giveUp closes a connection of the gate's own, if it is one.
func giveUp(conn *pgx.Conn) {
	if conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // it is given up either way
}

// connect opens a connection for the gate's own questions. Names without a schema
// find nothing there but what is the server's.
func (r *Resource) connect(ctx context.Context, database string, a Address) (*pgx.Conn, error) {
	base, err := r.connConfig(a, database, map[string]string{"application_name": "gatehouse"})
	if err != nil {
		return nil, err
	}
	c, err := pgx.ParseConfig(r.connString(a, database))
	if err != nil {
		return nil, err
	}
	c.Config = *base
	// Not by a start-up parameter, which would hide what newNaming asks for.
	c.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		return conn.Exec(ctx, "SET search_path = pg_catalog; SET lock_timeout = '"+catalogLockTimeout+"'").Close()
	}
	return pgx.ConnectConfig(ctx, c)
}

// askQuickly makes questions on conn cost less: most of what they take is to be
// planned.
func askQuickly(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, "SET plan_cache_mode = force_generic_plan; SET jit = off")
	return err
}

// locks says which locks a backend holds that others may wait for.
func (c *catalog) locks(ctx context.Context, pid uint32) (string, error) {
	var locks []string
	err := c.ask(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, `SELECT DISTINCT l.mode || COALESCE(' on ' || n.nspname || '.' || r.relname, '')
			FROM pg_catalog.pg_locks l
			JOIN pg_catalog.pg_class r ON r.oid = l.relation
			JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
			WHERE l.pid = $1 AND l.granted AND l.mode <> 'AccessShareLock'
			ORDER BY 1 LIMIT 20`, int32(pid))
		if err != nil {
			return err
		}
		locks, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	return strings.Join(locks, ", "), err
}
