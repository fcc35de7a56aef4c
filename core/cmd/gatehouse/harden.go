package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/core/cmd/gatehouse/config"
	"gatehouse/core/protect"
	"gatehouse/protocols/postgres"
	"gatehouse/protocols/postgres/account"
)

func newHarden() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "harden RESOURCE",
		Short: "Print SQL that takes from a resource's account what policy protects",
		Long: `Print SQL that takes from a resource's account what policy protects, so that the
server is a second wall behind the gate: privileges of protected columns, of
views and functions that show them, ownership, attributes such as SUPERUSER, and
memberships that give any of that.

It looks at the catalogues of the resource's databases with the account itself,
and runs nothing. Review the script, and give it to psql as a superuser; it can
be run again. Columns that a policy clears for some principals stay: they reach
them with the same account.`,
		Example: `  gatehouse harden orders --config gatehouse.yaml > harden.sql
  gatehouse harden orders --config gatehouse.yaml --all`,
		Args: arguments("RESOURCE"),
	}
	file := configFlag(c)
	c.Flags().BoolVar(&all, "all", false, "also take columns that policies clear")
	c.RunE = func(c *cobra.Command, args []string) error {
		cfg, err := loadConfig(*file)
		if err != nil {
			return err
		}
		if cfg.Resources[args[0]] == nil {
			return usage(fmt.Errorf("%q is none of the resources of %s", args[0], *file))
		}
		p := &parts{config: cfg, log: slog.New(slog.DiscardHandler)}
		p.addResources()
		if len(p.problems) > 0 {
			return p.problems.Sorted()
		}
		ctx, cancel := context.WithTimeout(c.Context(), auditTime)
		defer cancel()
		found, _, err := audit(ctx, p.resources[args[0]], cfg, all)
		if err != nil {
			return err
		}
		return found.Script(c.OutOrStdout())
	}
	return c
}

// auditTime bounds how long the catalogues may take.
const auditTime = 10 * checkTime

// audit looks at what a resource's account may do beyond the policies, and which
// of its patterns of protected columns match none.
func audit(ctx context.Context, r *postgres.Resource, c *config.Config, all bool) (found *account.Report, idle []string, err error) {
	var columns *protect.Columns
	if p := c.Resources[r.Name].Protect; p != nil {
		if columns, err = protect.New(p.Protected()); err != nil {
			return nil, nil, err
		}
		idle = slices.Sorted(maps.Keys(p.Columns))
	}
	found, err = r.Audit(ctx, account.Policy{
		Protected: func(column string) bool {
			idle = slices.DeleteFunc(idle, func(pattern string) bool { return protect.Match(pattern, column) })
			_, protected := columns.Column(column)
			return protected
		},
		Keeps: func(database, column string) string {
			for _, p := range c.Policies {
				if all || !targets(p, r.Name, database) {
					continue
				}
				if _, protected := columns.Without(p.Clear).Column(column); !protected {
					return fmt.Sprintf("policy %q clears it for its principals", p.Name)
				}
			}
			return ""
		},
	})
	return found, idle, err
}

// targets is whether a policy is for a database of a resource.
func targets(p *config.Policy, resource, database string) bool {
	for _, t := range p.Resources {
		if of, one, single := strings.Cut(t, "/"); of == resource && (!single || one == database) {
			return true
		}
	}
	return false
}

// judgePatterns notes which patterns of protected columns match none: it may be
// that they are misspelt. Of the server's own schemas no columns are looked at.
func (p *parts) judgePatterns(name string, idle []string) {
	for _, pattern := range idle {
		if !strings.HasPrefix(pattern, "pg_") && !strings.HasPrefix(pattern, "information_schema.") {
			p.note(errors.New("there is no such column"), "resources", name, "protect", "columns", pattern)
		}
	}
}

// judgeAccount reports what was found of a resource's account, as strictly as
// the configuration asks for.
func (p *parts) judgeAccount(name string, found *account.Report) {
	accept := "any"
	if c := p.config.Resources[name].Protect; c != nil {
		accept = c.Account
	}
	for _, f := range found.Findings {
		err := fmt.Errorf("the account %q %s; gatehouse harden %s prints the SQL that takes that away", found.Account, f, name)
		if accept == "hardened" || accept == "unprivileged" && f.Owner {
			p.problem(err, "resources", name, "user")
		} else {
			p.note(err, "resources", name, "user")
		}
	}
}
