package main

import (
	"context"
	"fmt"
	"io"
	"iter"

	"github.com/spf13/cobra"

	"gatehouse/protocols/postgres"
	"gatehouse/recorder"
)

// decoders read the bytes of each protocol that recordings hold.
var decoders = recorder.Decoders{"postgres": postgres.NewDecoder}

// replay writes what happened in a session.
func replay(ctx context.Context, w io.Writer, r *recorder.Reader, id string) error {
	return recorder.WriteText(w, recorder.Transcript(r.Frames(ctx, id), decoders))
}

func newSessionsReplay(f *storeFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "replay SESSION",
		Short: "Show what happened in a session: statements, verdicts, approvals, rows",
		Example: `  gatehouse sessions replay 01KAQ3V5Z8M4Q2T7W9X1Y3B6CD --config gatehouse.yaml
  gatehouse sessions replay 01KAQ3V5Z8M4Q2T7W9X1Y3B6CD --store ./recordings | less`,
		Args: arguments("SESSION"),
		RunE: func(c *cobra.Command, args []string) error {
			return f.read(c.Context(), func(r *recorder.Reader) error {
				return replay(c.Context(), c.OutOrStdout(), r, args[0])
			})
		},
	}
}

// formats are what a session can be exported to.
var formats = map[string]func(io.Writer, iter.Seq2[recorder.Entry, error]) error{
	"jsonl": recorder.WriteJSONL,
	"csv":   recorder.WriteCSV,
}

func newSessionsExport(f *storeFlags) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:   "export SESSION",
		Short: "Export a session as JSON Lines or CSV",
		Example: `  gatehouse sessions export 01KAQ3V5Z8M4Q2T7W9X1Y3B6CD --config gatehouse.yaml > session.jsonl
  gatehouse sessions export 01KAQ3V5Z8M4Q2T7W9X1Y3B6CD --config gatehouse.yaml --format csv`,
		Args: arguments("SESSION"),
		RunE: func(c *cobra.Command, args []string) error {
			write := formats[format]
			if write == nil {
				return usage(fmt.Errorf("--format %q is neither jsonl nor csv", format))
			}
			return f.read(c.Context(), func(r *recorder.Reader) error {
				return write(c.OutOrStdout(), recorder.Transcript(r.Frames(c.Context(), args[0]), decoders))
			})
		},
	}
	c.Flags().StringVar(&format, "format", "jsonl", "jsonl or csv")
	return c
}
