package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
)

func newDemo() *cobra.Command {
	var o demoOptions
	c := &cobra.Command{
		Use:   "demo",
		Short: "See it work, with everything thrown away afterwards",
		Long: `Start a throw-away PostgreSQL with sample data, a small identity provider, the
gate with all its plugins, the console and a store, and let a scripted agent
work through it: it gets masked rows, a blocked DROP and a held UPDATE. Then
keep serving, for your own psql and browser, until Ctrl-C.

It needs PostgreSQL's server programs. Recordings go to MinIO where its program
is found, else to a directory.

With --tour nobody needs to be there: a scripted approver decides, every outcome
is checked, and the exit code says whether all was as it should be.`,
		Example: `  gatehouse demo
  gatehouse demo --tour
  gatehouse demo --dir ./demo --minio ~/bin/minio`,
		Args: arguments(),
		RunE: func(c *cobra.Command, _ []string) error {
			return runDemo(c.Context(), c.OutOrStdout(), o)
		},
	}
	c.Flags().BoolVar(&o.tour, "tour", false, "do everything unattended, check it and end")
	c.Flags().StringVar(&o.dir, "dir", "", "new `directory` for configuration, keys and logs, which is kept")
	c.Flags().StringVar(&o.minio, "minio", "", "MinIO's `program`")
	return c
}

type demoOptions struct {
	tour       bool
	dir, minio string
	anyPort    bool // for tests: not the usual ones
}

func runDemo(ctx context.Context, w io.Writer, o demoOptions) (err error) {
	d := &demo{w: w, options: o}
	defer func() {
		fmt.Fprintln(w, "\nStopping everything.")
		err = errors.Join(err, d.Close())
	}()
	if err = d.start(ctx); err == nil {
		if o.tour {
			return d.tour(ctx)
		}
		err = d.show(ctx)
	}
	if ctx.Err() != nil {
		return nil // Ctrl-C, which is how it ends
	}
	return err
}

// show lets the agent work and then serves until ctx ends.
func (d *demo) show(ctx context.Context) error {
	a, err := d.connect(ctx)
	if err != nil {
		return err
	}
	d.title("The agent reads customers")
	if err := a.printRows(ctx, d.w, customersQuery); err != nil {
		return errors.Join(err, a.close(ctx))
	}
	d.title("The agent tries to drop a table")
	a.printStatement(d.w, "DROP TABLE orders")
	fmt.Fprintf(d.w, "  %v\n", a.exec(ctx, "DROP TABLE orders"))
	if err := a.close(ctx); err != nil {
		return err
	}
	if err := d.showRecording(ctx, a.session); err != nil {
		return err
	}
	held, err := d.hold(ctx)
	if err != nil {
		return err
	}
	d.printGuide(held)
	select {
	case err := <-held.outcome:
		outcome := "it ran"
		if err != nil {
			outcome = err.Error()
		}
		d.title("The UPDATE was decided")
		fmt.Fprintf(d.w, "  %s\n", outcome)
		<-ctx.Done()
	case <-ctx.Done():
		<-held.outcome
	}
	return nil
}

// A heldUpdate is an UPDATE of the agent that waits for approval.
type heldUpdate struct {
	id, session string
	outcome     chan error // of one
}

// hold has the agent send an UPDATE that is held, and returns once it is.
func (d *demo) hold(ctx context.Context) (*heldUpdate, error) {
	a, err := d.connect(ctx)
	if err != nil {
		return nil, err
	}
	h := &heldUpdate{session: a.session, outcome: make(chan error, 1)}
	go func() {
		err := a.exec(ctx, updateStatement)
		_ = a.close(context.WithoutCancel(ctx)) // it may be broken by then
		h.outcome <- err
	}()
	select {
	case h.id = <-a.held:
		return h, nil
	case err := <-h.outcome:
		return nil, fmt.Errorf("the UPDATE was not held, but ended with: %v", err)
	}
}

func (d *demo) printGuide(h *heldUpdate) {
	psql := fmt.Sprintf("PGPASSWORD=\"$(cat %s)\" psql \"host=localhost port=%d dbname=shop user=agent sslmode=verify-full sslrootcert=%s\"",
		d.path("agent.token"), d.ports.gate, d.path("ca.crt"))
	d.title("Your turn")
	fmt.Fprintf(d.w, `An UPDATE of the agent waits for approval as %[1]s:
  %[2]s
Decide it in the console, or here:
  %[3]s approvals approve %[1]s --url %[4]s --token file:%[5]s

Console         %[4]s
  dana@example.com    approves what is held, sees sessions
  alex@example.com    is an auditor: sees and replays sessions
  There is no password: pick who you are.
Your own psql   %[6]s
Another token   curl -s -u agent:%[7]s -d grant_type=client_credentials %[8]s/token
Configuration   %[9]s
Metrics         http://127.0.0.1:%[10]d/metrics
Log             %[11]s

Ctrl-C stops everything.
`, h.id, updateStatement, os.Args[0], d.urls.console, d.path("dana.token"), psql, agentSecret, d.urls.issuer,
		d.path("gatehouse.yaml"), d.ports.admin, d.path("gatehouse.log"))
}
