// Command gatehouse is the gate between autonomous agents and what they use,
// with the tools to run it. It is the only place that reads configuration, files
// and the environment, and it wires protocols, plugins and stores in visible
// order.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"gatehouse/core/cmd/gatehouse/config"
)

func main() {
	// The first signal asks the command to end well. The second one ends
	// the process: what it recorded is in the spool.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes.
const (
	exitOK         = 0
	exitFailed     = 1 // the command could not do what it was asked
	exitUsage      = 2 // the command line or the configuration is wrong
	exitUnverified = 3 // the evidence does not verify
)

// An exitError ends the command with a code other than exitFailed.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func usage(err error) error { return &exitError{exitUsage, err} }

// An adviceError says what to do next.
type adviceError struct {
	err  error
	next string
}

func (e *adviceError) Error() string { return e.err.Error() }
func (e *adviceError) Unwrap() error { return e.err }

func advise(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &adviceError{err, fmt.Sprintf(format, args...)}
}

// run runs a command line and returns its exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if problems, ok := errors.AsType[config.Problems](err); ok {
		fmt.Fprintln(stderr, problems)
		fmt.Fprintf(stderr, "\n%s found. examples/gatehouse.yaml explains every key.\n", count(len(problems), "problem"))
		return exitUsage
	}
	fmt.Fprintf(stderr, "gatehouse: %v\n", err)
	if advice, ok := errors.AsType[*adviceError](err); ok {
		fmt.Fprintln(stderr, advice.next)
	}
	if exit, ok := errors.AsType[*exitError](err); ok {
		return exit.code
	}
	return exitFailed
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "gatehouse",
		Short: "A gate between autonomous agents and what they use",
		Long: `Gatehouse stands between autonomous agents and what they use. It learns who an
agent is from an identity token, opens the target with a credential that only
the gate knows, lets plugins block, hold and mask, and records the session.

Exit codes: 0 success, 1 failure, 2 a wrong command line or configuration,
3 evidence that does not verify.`,
		Example: `  gatehouse demo
  gatehouse check --config gatehouse.yaml
  gatehouse serve --config gatehouse.yaml`,
		Args:          func(_ *cobra.Command, args []string) error { return unknownVerb(args) },
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage(advise(err, "%s --help shows what it takes.", c.CommandPath()))
	})
	root.AddCommand(newServe(), newCheck(), newExplain(), newHarden(), newDemo(), newKeygen(), newSessions(), newVerify(), newApprovals(), newTracked(), newPlugin(), newVersion())
	return root
}

func unknownVerb(args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usage(advise(fmt.Errorf("unknown command %q", args[0]), "gatehouse --help lists the commands."))
}

// arguments demands that a command gets exactly the named arguments.
func arguments(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		err := fmt.Errorf("takes no arguments, got %q", args)
		if len(names) > 0 {
			err = fmt.Errorf("takes %q, got %q", names, args)
		}
		return usage(advise(fmt.Errorf("%s %w", c.CommandPath(), err), "%s --help shows what it takes.", c.CommandPath()))
	}
}

// configFlag adds --config, which must be given.
func configFlag(c *cobra.Command) *string {
	file := c.Flags().StringP("config", "c", "", "configuration `file`")
	return file
}

func loadConfig(file string) (*config.Config, error) {
	if file == "" {
		return nil, usage(advise(errors.New("--config is missing"), "Name the configuration with --config FILE. examples/gatehouse.yaml is one to start from."))
	}
	c, err := config.Load(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, usage(advise(err, "examples/gatehouse.yaml is a configuration to start from."))
	}
	return c, err
}
