package statement

import (
	"context"
	"errors"
	"fmt"
	"sync"

	tree "github.com/pganalyze/pg_query_go/v6"
	pgquery "github.com/wasilibs/go-pgquery"
	pgparser "github.com/wasilibs/go-pgquery/parser"
)

// Reject is a text that PostgreSQL's parser rejects in every version and every
// setting. The text of a refused request is replaced by it.
const Reject = "gatehouse refused this statement"

// ErrParser is what errors wrap once an instance of the parser has failed in a
// way that leaves its memory in doubt. Nothing is parsed any more in this
// process; the limits are there so that it does not come to this.
var ErrParser = errors.New("the SQL parser has failed and needs a restart")

// A SyntaxError is what PostgreSQL's parser says of a text that it rejects. The
// message quotes the text, literals included.
type SyntaxError struct {
	Message  string
	Position int // in characters, from 1; 0 when unknown
}

func (e *SyntaxError) Error() string { return e.Message }

// A parser runs a bounded number of instances of PostgreSQL's parser. The
// library keeps them in a pool of its own, compiles the parser anew for each
// and puts one that trapped back with the others; so the number is fixed, and
// a trap ends all parsing.
type parser struct {
	slots chan struct{}

	mu      sync.Mutex
	settled *sync.Cond // a call has ended
	tickets uint64
	running map[uint64]struct{}
	failed  error
}

func newParser(instances int) *parser {
	p := &parser{slots: make(chan struct{}, instances), running: make(map[uint64]struct{})}
	p.settled = sync.NewCond(&p.mu)
	return p
}

// warm makes every instance compile, so that no statement waits for it.
func (p *parser) warm(ctx context.Context) error {
	taken := 0
	defer func() {
		for range taken {
			<-p.slots
		}
	}()
	for range cap(p.slots) {
		select {
		case p.slots <- struct{}{}:
			taken++
		case <-ctx.Done():
			return fmt.Errorf("warm the SQL parser: %w", ctx.Err())
		}
	}
	// An instance that is done goes back to the pool, so all must be busy at
	// the same time to make the pool grow.
	var ready, done sync.WaitGroup
	ready.Add(taken)
	var failed error
	for range taken {
		done.Go(func() {
			ready.Done()
			ready.Wait()
			if err := p.call(func() error { _, err := pgquery.Parse(warmText); return err }); err != nil {
				p.mu.Lock()
				failed = err
				p.mu.Unlock()
			}
		})
	}
	done.Wait()
	return failed
}

// warmText touches the parser's tables and grows its memory once.
const warmText = "SELECT a, count(*) FROM s.t JOIN u USING (id) WHERE b = $1 AND c IN (1, 2) GROUP BY a ORDER BY 2 LIMIT 10"

// parse returns the tree of text, which the limits must have let through.
func (p *parser) parse(ctx context.Context, text string) (*tree.ParseResult, error) {
	var result *tree.ParseResult
	err := p.run(ctx, func() (err error) {
		result, err = pgquery.Parse(text)
		return err
	})
	return result, err
}

// parsePLpgSQL returns the tree of the PL/pgSQL body in text, one DO or CREATE
// FUNCTION, as JSON.
func (p *parser) parsePLpgSQL(ctx context.Context, text string) (string, error) {
	var result string
	err := p.run(ctx, func() (err error) {
		result, err = pgquery.ParsePlPgSqlToJSON(text)
		return err
	})
	return result, err
}

// run calls the parser when an instance is free.
func (p *parser) run(ctx context.Context, call func() error) error {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait for the SQL parser: %w", ctx.Err())
	}
	defer func() { <-p.slots }()
	err := p.call(call)
	var rejected *pgparser.Error
	if errors.As(err, &rejected) {
		return &SyntaxError{Message: rejected.Message, Position: rejected.Cursorpos}
	}
	return err
}

// call makes one call and decides whether its answer counts. When an instance
// traps the library puts it back before the trap is known here, and a call
// that began later may have got it. So an answer waits for the calls that
// began before it.
func (p *parser) call(call func() error) error {
	p.mu.Lock()
	if p.failed != nil {
		defer p.mu.Unlock()
		return p.failed
	}
	ticket := p.tickets
	p.tickets++
	p.running[ticket] = struct{}{}
	p.mu.Unlock()

	trap, err := recovering(call)

	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.running, ticket)
	if trap != nil && p.failed == nil {
		p.failed = fmt.Errorf("%w: %v", ErrParser, trap)
	}
	p.settled.Broadcast()
	for p.failed == nil && p.olderThan(ticket) {
		p.settled.Wait()
	}
	if p.failed != nil {
		return p.failed
	}
	return err
}

// err returns why nothing can be parsed any more, or nil.
func (p *parser) err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

func (p *parser) olderThan(ticket uint64) bool {
	for other := range p.running {
		if other < ticket {
			return true
		}
	}
	return false
}

// recovering turns a panic, which is how a trap shows, into a value.
func recovering(call func() error) (trap any, err error) {
	defer func() { trap = recover() }()
	return nil, call()
}
