package postgres

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// A session that is over does not wait for what others ask of a server that is
// slow to answer.
func TestNobodyWaitsForTheCatalogueOfASessionThatIsOver(t *testing.T) {
	r := &Resource{Name: "orders"}
	c := r.catalogs.of(r, "orders", Address{})
	for _, x := range []struct {
		name string
		turn turn
		ask  func(context.Context) error
	}{
		{"names", c.asking, func(ctx context.Context) error {
			return c.ask(ctx, func(context.Context, *pgx.Conn) error { return nil })
		}},
		{"estimates", c.planner.asking, func(ctx context.Context) error {
			_, err := c.plan(ctx, "", "", "DELETE FROM t", nil, nil)
			return err
		}},
	} {
		t.Run(x.name, func(t *testing.T) {
			if err := x.turn.take(t.Context()); err != nil {
				t.Fatal(err)
			}
			defer x.turn.give()
			ctx, end := context.WithCancel(t.Context())
			asked := make(chan error, 1)
			go func() { asked <- x.ask(ctx) }()
			end()
			select {
			case err := <-asked:
				if !errors.Is(err, context.Canceled) {
					t.Errorf("%v, want that the session is over", err)
				}
			case <-time.After(time.Minute):
				t.Fatal("it waits on")
			}
		})
	}
}
