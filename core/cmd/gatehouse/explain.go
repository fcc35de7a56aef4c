package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"gatehouse/core/event"
	"gatehouse/core/policy"
	"gatehouse/protocols/postgres"
	"gatehouse/protocols/postgres/statement"
)

func newExplain() *cobra.Command {
	var resource, database, as string
	var groups []string
	c := &cobra.Command{
		Use:   "explain SQL",
		Short: "Show what is masked of a statement's result, and why",
		Long: `Show what is masked of a statement's result, and why: for each field the columns
that it depends on, how, its treatment and the rule that decides. What the gate
would refuse, for what the statement does with protected columns, is said too, but
not what it would for triggers and rules of what the statement writes.

The statement is not run: the server describes its result, and the catalogue says
what its names stand for, by the resource's account. Plugins are not asked.`,
		Example: `  gatehouse explain 'SELECT name, ssn FROM customers' --resource orders \
    --as agent@example.com --group agents --config gatehouse.yaml`,
		Args: arguments("SQL"),
	}
	file := configFlag(c)
	c.Flags().StringVar(&resource, "resource", "", "the `name` of the resource that the statement is for")
	c.Flags().StringVar(&database, "database", "", "one of its databases, by `name` (default the resource's own)")
	c.Flags().StringVar(&as, "as", "", "who asks, for the output: a `name`")
	c.Flags().StringSliceVar(&groups, "group", nil, "a `group` of who asks; repeat it for more")
	c.RunE = func(c *cobra.Command, args []string) error {
		cfg, err := loadConfig(*file)
		if err != nil {
			return err
		}
		if cfg.Resources[resource] == nil {
			return usage(fmt.Errorf("--resource: %q is none of the resources of %s", resource, *file))
		}
		if len(groups) == 0 {
			return usage(advise(errors.New("--group is missing"), "Policies go by groups: name those of who asks."))
		}
		p := &parts{config: cfg, log: slog.New(slog.DiscardHandler)}
		p.addResources()
		decided := p.decidePolicy(nil)
		if len(p.problems) > 0 {
			return p.problems.Sorted()
		}
		database := cmp.Or(database, cfg.Resources[resource].Database)
		who := event.Principal{Name: cmp.Or(as, strings.Join(groups, ", ")), Groups: groups}
		access, err := decided.Decide(who, resource, database)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(c.Context(), auditTime)
		defer cancel()
		analyzer := statement.NewAnalyzer(statement.Limits{})
		all, err := p.resources[resource].Explain(ctx, database, analyzer, access.Protected, access.AllProtected, args[0])
		if err != nil {
			return err
		}
		return printExplained(c.OutOrStdout(), who.Name, resource, &access, all)
	}
	return c
}

func printExplained(w io.Writer, who, resource string, access *policy.Access, all []postgres.Explanation) error {
	mode := "no column is protected"
	switch {
	case access.Protected.Strict():
		mode = "mode strict"
	case access.Protected != nil:
		mode = "mode column"
	case access.AllProtected != nil:
		mode = "cleared for all protected columns"
	}
	fmt.Fprintf(w, "%s reaches %s by policy %q: %s\n", who, resource, access.Rule, mode)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, e := range all {
		fmt.Fprintf(t, "\n%s\n", e.SQL)
		if e.Refused != "" {
			fmt.Fprintf(t, "refused: %s\n", e.Refused)
			if e.Hint != "" {
				fmt.Fprintln(t, e.Hint)
			}
		}
		if e.Rows != "" {
			fmt.Fprintf(t, "every field is unknown: %s\n", e.Rows)
		}
		if e.Error != "" {
			fmt.Fprintf(t, "the server does not describe it: %s\n", e.Error)
		}
		if len(e.Fields) == 0 {
			if e.Refused == "" && e.Error == "" {
				fmt.Fprintln(t, "it has no result")
			}
			continue
		}
		fmt.Fprintln(t, "FIELD\tTYPE\tLINEAGE\tDEPENDS ON\tTREATMENT\tRULE\tWHY")
		for _, f := range e.Fields {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.Name, f.Type, f.Lineage, cmp.Or(strings.Join(f.Origins, ", "), "-"),
				f.Treatment, cmp.Or(f.Treatment.Rule, "-"), cmp.Or(f.Why, "-"))
		}
	}
	return t.Flush()
}
