package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/recorder"
)

// storeFlags say where recordings are: in the store of a configuration, or in
// a directory.
type storeFlags struct {
	config, dir string
	identity    []string
	identities  recorder.Identities // set by open
}

func (f *storeFlags) add(c *cobra.Command) {
	c.PersistentFlags().StringVarP(&f.config, "config", "c", "", "configuration `file` whose store to read")
	c.PersistentFlags().StringVar(&f.dir, "store", "", "`directory` to read instead: a store, or a copy of one")
	c.PersistentFlags().StringArrayVar(&f.identity, "identity", nil, "`reference` to an age identity file, env:NAME or file:PATH, that opens encrypted recordings; several times for several")
	c.MarkFlagsMutuallyExclusive("config", "store")
}

// open returns the store and a function that closes it.
func (f *storeFlags) open(ctx context.Context) (recorder.Store, func() error, error) {
	var err error
	if f.identities, err = readIdentities(f.identity); err != nil {
		return nil, nil, err
	}
	if f.dir != "" {
		if _, err := os.Stat(f.dir); err != nil {
			return nil, nil, usage(fmt.Errorf("open store: %w", err))
		}
		dir, err := recorder.OpenDir(f.dir)
		if err != nil {
			return nil, nil, err
		}
		return dir, dir.Close, nil
	}
	if f.config == "" {
		return nil, nil, usage(advise(errors.New("no store is named"), "Name a configuration with --config FILE, or a directory with --store DIR."))
	}
	c, err := loadConfig(f.config)
	if err != nil {
		return nil, nil, err
	}
	p := &parts{config: c, log: slog.New(slog.DiscardHandler)}
	p.openStore()
	p.readEncryption()
	if len(p.problems) > 0 {
		return nil, nil, p.problems
	}
	f.identities = append(f.identities, p.identities...)
	return p.store, p.Close, nil
}

// read calls use with a reader of the store.
func (f *storeFlags) read(ctx context.Context, use func(*recorder.Reader) error) error {
	store, closeStore, err := f.open(ctx)
	if err != nil {
		return err
	}
	err = adviseIdentity(use(recorder.NewReader(store).With(f.identities)))
	if errors.Is(err, recorder.ErrNotFound) {
		err = advise(err, "gatehouse sessions list shows the recordings. What a running gate has not stored yet is in its spool, for a second or so.")
	}
	return errors.Join(err, closeStore())
}

func newSessions() *cobra.Command {
	f := new(storeFlags)
	c := &cobra.Command{
		Use:   "sessions",
		Short: "List, show, replay and export recorded sessions",
		Example: `  gatehouse sessions list --config gatehouse.yaml
  gatehouse sessions replay 01KAQ3V5Z8M4Q2T7W9X1Y3B6CD --config gatehouse.yaml`,
		Args: func(_ *cobra.Command, args []string) error { return unknownVerb(args) },
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	f.add(c)
	c.AddCommand(newSessionsList(f), newSessionsShow(f), newSessionsReplay(f), newSessionsExport(f))
	return c
}

func newSessionsList(f *storeFlags) *cobra.Command {
	var q recorder.Query
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List sessions, newest first",
		Example: `  gatehouse sessions list --config gatehouse.yaml --day 2026/11/23
  gatehouse sessions list --store ./recordings --json --limit 1000`,
		Args: arguments(),
		RunE: func(c *cobra.Command, _ []string) error {
			return f.read(c.Context(), func(r *recorder.Reader) error {
				list, err := r.List(c.Context(), q)
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSONLines(c.OutOrStdout(), list)
				}
				return writeSummaries(c.OutOrStdout(), list)
			})
		},
	}
	c.Flags().StringVar(&q.Day, "day", "", "year, month or `day`: 2026, 2026/11 or 2026/11/23")
	c.Flags().IntVar(&q.Limit, "limit", recorder.DefaultListLimit, "how many")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	return c
}

func writeSummaries(w io.Writer, list []recorder.Summary) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SESSION\tSTART\tLASTED\tWHO\tRESOURCE\tREQUESTS\tBLOCKED\tHELD\tEND")
	for i := range list {
		s := &list[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\n", s.ID, s.Start.Local().Format(time.DateTime), s.End.Sub(s.Start).Round(time.Millisecond),
			oneLine(secretOr(s, s.Principal.Name)), oneLine(secretOr(s, s.Resource)), s.Requests, s.Blocked, s.Held, ending(s))
	}
	return t.Flush()
}

// secretOr is v, or says that an identity is missing to see it.
func secretOr(s *recorder.Summary, v string) string {
	if s.Encrypted {
		return "(encrypted)"
	}
	return v
}

func ending(s *recorder.Summary) string {
	if s.Encrypted && !s.Open {
		return "(encrypted)"
	}
	if s.Open && s.Code == "" {
		return "open"
	}
	return oneLine(s.Code)
}

func newSessionsShow(f *storeFlags) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "show SESSION",
		Short:   "Show what a session was, in short",
		Example: "  gatehouse sessions show 01KAQ3V5Z8M4Q2T7W9X1Y3B6CD --config gatehouse.yaml",
		Args:    arguments("SESSION"),
		RunE: func(c *cobra.Command, args []string) error {
			return f.read(c.Context(), func(r *recorder.Reader) error {
				s, err := r.Summary(c.Context(), args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return writeJSONLines(c.OutOrStdout(), []recorder.Summary{s})
				}
				return writeSummary(c.OutOrStdout(), &s)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as one JSON object")
	return c
}

func writeSummary(w io.Writer, s *recorder.Summary) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, line := range [][2]string{
		{"Session", s.ID},
		{"Gate", s.Gate},
		{"Who", secretOr(s, fmt.Sprintf("%s (%s at %s)", s.Principal.Name, s.Principal.Subject, s.Principal.Issuer))},
		{"Groups", strings.Join(s.Principal.Groups, ", ")},
		{"From", secretOr(s, s.Client)},
		{"Resource", secretOr(s, s.Resource+" ("+s.Protocol+")")},
		{"Policy", secretOr(s, s.Policy)},
		{"Start", s.Start.Local().Format(time.RFC3339)},
		{"Lasted", s.End.Sub(s.Start).Round(time.Millisecond).String()},
		{"End", strings.TrimSpace(ending(s) + " " + s.Reason)},
		{"Requests", fmt.Sprintf("%d, %d blocked, %d held", s.Requests, s.Blocked, s.Held)},
		{"Recording", fmt.Sprintf("%s, %d bytes", count(int(s.Frames), "frame"), s.Bytes)},
	} {
		fmt.Fprintf(t, "%s\t%s\n", line[0], oneLine(line[1]))
	}
	return t.Flush()
}
