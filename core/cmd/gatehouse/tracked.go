package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/console"
)

func newTracked() *cobra.Command {
	f := new(consoleFlags)
	c := &cobra.Command{
		Use:   "tracked",
		Short: "List and lift columns that are protected since protected values were stored there",
		Long: `List and lift columns that are protected since protected values were stored there.

Where a resource has protect.writes: tracked, a statement that stores values of
protected columns elsewhere passes, and the columns that it stores them in are
protected from then on. They stay so until somebody lifts them, or they are gone.

It goes through a gate's console, as an identity token that the console accepts,
given by reference: env:NAME or file:PATH. The console's viewers see all of it.
The groups that a policy names as lifters, or its approvers if it names none, see
and lift what is tracked of the policy's resources.`,
		Example: `  gatehouse tracked list --url https://gate.example.com --token file:token
  gatehouse tracked list --resource orders --json
  gatehouse tracked lift orders public.reports.number --comment "numbers were removed, see OPS-114"
  gatehouse tracked prune orders --comment "the reports were dropped"`,
		Args: func(_ *cobra.Command, args []string) error { return unknownVerb(args) },
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	f.add(c)
	c.AddCommand(newTrackedList(f), newTrackedLift(f), newTrackedPrune(f))
	return c
}

func newTrackedList(f *consoleFlags) *cobra.Command {
	var resource string
	c := &cobra.Command{
		Use:   "list",
		Short: "List tracked columns, what they hold and which statement stored it",
		Long: `List tracked columns as they are called now, the protected columns whose values
they hold, and the first statement that stored them: its session, which gatehouse
sessions replay shows, the number of its exchange in there, who ran it, when, and
its text, masked. With --json there is such a statement of each principal.

The state of a column is there; gone, if it or its table was dropped; making,
while the transaction is open that makes its table; left, if its gate ended
before it was known what became of that; or unknown, if the server does not
answer.`,
		Example: `  gatehouse tracked list
  gatehouse tracked list --resource orders
  gatehouse tracked list --json | jq -r 'select(.state == "gone") | .column'`,
	}
	get := func(client *console.Client) ([]console.Tracked, error) { return client.Tracked(c.Context(), resource) }
	lists(c, f, get, writeTracked)
	c.Flags().StringVar(&resource, "resource", "", "`name` of the only resource to list")
	return c
}

func writeTracked(w io.Writer, list []console.Tracked) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "Nothing is tracked that you may see.")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "RESOURCE\tCOLUMN\tSTATE\tHOLDS\tSESSION\tEXCHANGE\tWHO\tSINCE\tSTATEMENT")
	for i := range list {
		r := &list[i]
		var first console.Cause
		if len(r.Causes) > 0 {
			first = r.Causes[0]
		}
		who := cmp.Or(first.Principal.Name, first.Principal.Subject)
		if more := len(r.Causes) - 1; more > 0 {
			who += fmt.Sprintf(" and %d more", more)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", oneLine(r.Resource), oneLine(r.Column), oneLine(r.State), oneLine(holds(r)),
			oneLine(first.Session), first.Exchange, oneLine(who), first.At.Local().Format(time.DateTime), shorten(oneLine(first.Statement), 80))
	}
	return t.Flush()
}

// holds says what a column holds.
func holds(t *console.Tracked) string {
	from := strings.Join(t.From, ", ")
	if t.Computed {
		return "computed from " + from
	}
	return from
}

func newTrackedLift(f *consoleFlags) *cobra.Command {
	var comment, database string
	c := &cobra.Command{
		Use:   "lift RESOURCE SCHEMA.TABLE.COLUMN",
		Short: "Make a tracked column one that is not protected any more",
		Long: `Make a tracked column one that is not protected any more: at once, in all sessions,
also those that are open, and for good. The gate looks at no values: look first at
what the column holds. A statement that stores protected values there later makes
it protected again.

Who lifts it, when and why, and which statements had stored there, is recorded as
a session of its own, whose ID is printed. It is durable before the column is
lifted.

Refused is what a session of your own stored, what the configuration protects too,
and what an open transaction writes to, or may: try again when that has ended.`,
		Example: `  gatehouse tracked lift orders public.reports.number --comment "numbers were removed, see OPS-114"
  gatehouse tracked lift orders public.reports.number --database archive --comment "test data"`,
		Args: arguments("RESOURCE", "SCHEMA.TABLE.COLUMN"),
		RunE: func(c *cobra.Command, args []string) error {
			client, list, err := f.tracked(c.Context(), args[0], comment)
			if err != nil {
				return err
			}
			one, err := findTracked(list, args[1], database)
			if err != nil {
				return err
			}
			return lift(c.Context(), c.OutOrStdout(), client, one, comment)
		},
	}
	addComment(c, &comment)
	c.Flags().StringVar(&database, "database", "", "`name` of its database, where several have such a column")
	return c
}

func addComment(c *cobra.Command, comment *string) {
	c.Flags().StringVar(comment, "comment", "", "why, for the recording; it must be given")
}

// tracked returns what is tracked of a resource, and a client of the console for
// what has to have a comment.
func (f *consoleFlags) tracked(ctx context.Context, resource, comment string) (*console.Client, []console.Tracked, error) {
	if strings.TrimSpace(comment) == "" {
		return nil, nil, usage(advise(errors.New("--comment is missing"), "Say why with --comment TEXT: it is recorded."))
	}
	client, err := f.client()
	if err != nil {
		return nil, nil, err
	}
	list, err := client.Tracked(ctx, resource)
	return client, list, err
}

// findTracked returns the column of a name.
func findTracked(list []console.Tracked, column, database string) (console.Tracked, error) {
	var found []console.Tracked
	for _, t := range list {
		if t.Column == column && (database == "" || t.Database == database) {
			found = append(found, t)
		}
	}
	switch {
	case len(found) == 0:
		return console.Tracked{}, advise(fmt.Errorf("%s is not tracked, or you may not see it", column), "gatehouse tracked list shows what is.")
	case len(found) > 1 && found[0].Database == found[len(found)-1].Database:
		// One of them is gone; what is there comes first.
		for _, t := range found {
			if t.State == "there" {
				return t, nil
			}
		}
		return found[0], nil
	case len(found) > 1:
		return console.Tracked{}, usage(advise(fmt.Errorf("several databases have a tracked column %s", column), "Name one with --database."))
	}
	return found[0], nil
}

// lift lifts a column, and says what it held.
func lift(ctx context.Context, w io.Writer, client *console.Client, t console.Tracked, comment string) error {
	done, err := client.Lift(ctx, t, comment)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "Lifted %s of %s, which held %s. Recorded as session %s.\n", oneLine(t.Column), oneLine(t.Resource), oneLine(holds(&t)), oneLine(done.Session))
	return err
}

func newTrackedPrune(f *consoleFlags) *cobra.Command {
	var comment string
	c := &cobra.Command{
		Use:   "prune RESOURCE",
		Short: "Forget tracked columns that are gone",
		Long: `Forget tracked columns that are gone, because they, or their tables, were dropped.
Each is recorded as lift does. The gate also forgets them by itself when it has no
room for more, and says so in the recording of the session that needed it.`,
		Example: `  gatehouse tracked prune orders --comment "the reports were dropped"`,
		Args:    arguments("RESOURCE"),
		RunE: func(c *cobra.Command, args []string) error {
			client, list, err := f.tracked(c.Context(), args[0], comment)
			if err != nil {
				return err
			}
			var errs []error
			pruned := 0
			for _, t := range list {
				if t.State != "gone" {
					continue
				}
				if pruned++; t.MayLift {
					errs = append(errs, lift(c.Context(), c.OutOrStdout(), client, t, comment))
				} else {
					errs = append(errs, fmt.Errorf("%s: %s", t.Column, t.WhyNot))
				}
			}
			if pruned == 0 {
				_, err := fmt.Fprintln(c.OutOrStdout(), "Nothing is tracked that is gone.")
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		},
	}
	addComment(c, &comment)
	return c
}
