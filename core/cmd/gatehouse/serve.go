package main

import (
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func newServe() *cobra.Command {
	var format string
	var level slog.Level
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the gate",
		Long: `Run the gate. SIGTERM or SIGINT ends it: it takes no new sessions, lets the open
ones end at their next idle point, and cuts those that have not after
limits.drain. A second signal ends it at once.

SIGHUP makes it read its configuration again, as it does by itself when one of
the files changes that it is made of. A configuration with problems is refused
whole, and the gate goes on with the one that it has.

It logs to standard error, as text on a terminal and as JSON elsewhere.`,
		Example: `  gatehouse serve --config gatehouse.yaml
  gatehouse serve --config gatehouse.yaml --log-format json --log-level debug`,
		Args: arguments(),
	}
	file := configFlag(c)
	c.Flags().StringVar(&format, "log-format", "auto", "auto, text or json")
	c.Flags().TextVar(&level, "log-level", slog.LevelInfo, "debug, info, warn or error")
	c.RunE = func(c *cobra.Command, _ []string) error {
		log, err := newLog(c.ErrOrStderr(), format, level)
		if err != nil {
			return err
		}
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, syscall.SIGHUP)
		defer signal.Stop(asked)
		cfg, err := loadConfig(*file)
		if err != nil {
			return err
		}
		g, err := openGate(c.Context(), cfg, log)
		if err != nil {
			return err
		}
		return errors.Join(g.run(c.Context(), asked), g.Close())
	}
	return c
}
