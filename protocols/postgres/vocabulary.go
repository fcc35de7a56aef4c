package postgres

import (
	"context"
	"sync"

	"github.com/jackc/pgx/v5"

	"gatehouse/core/lineage"
	"gatehouse/protocols/postgres/overload"
	"gatehouse/protocols/postgres/statement"
)

// A vocabulary is what names stand for in a database, to the lineage engine: what
// the catalogue said since one moment. What is asked for twice is the same. It is
// safe for concurrent use.
type vocabulary struct {
	catalog  *catalog
	analyzer *statement.Analyzer
	version  uint64

	mu        sync.Mutex
	own       *dictionary // of PostgreSQL's own
	others    *dictionary // of what is not
	relations map[relationNamed][]*lineage.Relation
	made      map[uint32]*lineage.Function
	calls     map[uint32][]string // what functions that are read call
	operators map[uint32]*lineage.Function
	overloads map[overloaded]*overloads
	types     overload.Types
	told      map[analysis]*told
	meetings  map[meetingOf]meeting
	guarded   map[guardedIn][]namedColumn
	triggered map[uint32][]*trigger // by table
}

// vocabulary returns what is known at the moment.
func (c *catalog) vocabulary(analyzer *statement.Analyzer) *vocabulary {
	if st := c.stands(); st != nil {
		if words := st.words.Load(); words != nil {
			return words
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh()
	if c.words == nil {
		c.words = &vocabulary{catalog: c, analyzer: analyzer, version: c.changes, own: c.own,
			relations: map[relationNamed][]*lineage.Relation{}, made: map[uint32]*lineage.Function{}, calls: map[uint32][]string{},
			operators: map[uint32]*lineage.Function{}, overloads: map[overloaded]*overloads{},
			told: map[analysis]*told{}, meetings: map[meetingOf]meeting{}, guarded: map[guardedIn][]namedColumn{}, triggered: map[uint32][]*trigger{}}
	}
	if st := c.standing.Load(); st != nil {
		st.words.Store(c.words)
	}
	return c.words
}

// dictionaries returns what is PostgreSQL's own and what is not.
func (v *vocabulary) dictionaries(ctx context.Context) (own, others *dictionary, err error) {
	v.mu.Lock()
	own, others = v.own, v.others
	v.mu.Unlock()
	if own != nil && others != nil {
		return own, others, nil
	}
	learnsOwn := own == nil
	err = v.catalog.ask(ctx, func(ctx context.Context, conn *pgx.Conn) (err error) {
		if learnsOwn {
			if own, err = readDictionary(ctx, conn, nil); err != nil {
				return err
			}
		}
		others, err = readDictionary(ctx, conn, own)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if err := v.readRisky(ctx, own, others); err != nil {
		return nil, nil, err
	}
	v.catalog.mu.Lock()
	v.catalog.own = own
	v.catalog.mu.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.own == nil || v.others == nil {
		v.own, v.others = own, others
		v.types = overload.Types{Own: own.all, Others: others.all, Implicit: others.implicit}
	}
	return v.own, v.others, nil
}
