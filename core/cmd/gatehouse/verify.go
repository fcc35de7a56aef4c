package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"gatehouse/core/cmd/gatehouse/config"
	"gatehouse/recorder"
)

type verifyFlags struct {
	store           storeFlags
	key, kept, keep string
	options         recorder.VerifyOptions
	json, retention bool
}

func newVerify() *cobra.Command {
	f := new(verifyFlags)
	c := &cobra.Command{
		Use:   "verify [SESSION]",
		Short: "Prove that no recording was altered, removed or added",
		Long: `Verify all recordings, or those of one session: the log is what its signed
checkpoint states, every object in the log is there and unchanged, sessions have
no gap, and there is nothing else. It needs no secret, only the public key.

In a bucket that keeps versions it looks behind delete markers and newer
versions, and says where what was recorded is still there. Where the
configuration asks for object lock it compares the lock of every object, too.

A checkpoint that was kept elsewhere proves more: nothing that was recorded
before it is gone. Keep one with --keep FILE and give it back with --kept FILE.

What this does not show: that a gate recorded everything, or what happened past
the gate. Whoever holds the signing key can make a log anew, which only a kept
checkpoint gives away.`,
		Example: `  gatehouse verify --config gatehouse.yaml
  gatehouse verify --store ./copy --key file:signing.pub --kept last-month.checkpoint --keep today.checkpoint
  gatehouse verify 01KAQ3V5Z8M4Q2T7W9X1Y3B6CD --config gatehouse.yaml`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return arguments("SESSION")(c, args)
			}
			return nil
		},
	}
	f.store.add(c)
	c.Flags().StringVar(&f.key, "key", "", "`reference` to the public key, env:NAME or file:PATH; the configuration's own unless given")
	c.Flags().StringVar(&f.kept, "kept", "", "`file` with a checkpoint that was kept elsewhere")
	c.Flags().StringVar(&f.keep, "keep", "", "`file` to write the checkpoint to, for a later --kept")
	c.Flags().BoolVar(&f.options.Frames, "frames", false, "read every frame too")
	c.Flags().BoolVar(&f.retention, "retention", true, "compare the lock of each object in a bucket with what recording.retention asks of its class")
	c.Flags().BoolVar(&f.json, "json", false, "the report as one JSON object")
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			f.options.Session = args[0]
		}
		return f.run(c.Context(), c.OutOrStdout(), c.ErrOrStderr())
	}
	return c
}

func (f *verifyFlags) run(ctx context.Context, stdout, stderr io.Writer) error {
	key, err := f.publicKey()
	if err != nil {
		return err
	}
	if f.kept != "" {
		if f.options.Kept, err = os.ReadFile(f.kept); err != nil {
			return usage(fmt.Errorf("read kept checkpoint: %w", err))
		}
	}
	store, closeStore, err := f.store.open(ctx)
	if err != nil {
		return err
	}
	f.options.Identities = f.store.identities
	if f.retention && f.store.config != "" {
		c, err := loadConfig(f.store.config)
		if err != nil {
			return errors.Join(err, closeStore())
		}
		f.options.Retention = retention(&c.Recording)
	}
	f.options.Progress = progress(stderr)
	report, err := recorder.Verify(ctx, store, key, f.options)
	if err = errors.Join(err, closeStore()); err != nil {
		return err
	}
	if f.json {
		err = writeJSONLines(stdout, []*recorder.Report{report})
	} else {
		err = writeReport(stdout, report)
	}
	if err != nil {
		return err
	}
	if !report.OK() {
		return &exitError{exitUnverified, advise(fmt.Errorf("%s found", count(len(report.Problems), "problem")),
			"Treat the recordings named above as evidence of tampering until you know better, and compare with a copy or an older version of the bucket.")}
	}
	if f.keep == "" {
		return nil
	}
	if err := os.WriteFile(f.keep, []byte(report.Checkpoint), 0o644); err != nil {
		return fmt.Errorf("keep checkpoint: %w", err)
	}
	return nil
}

// publicKey returns the key that --key refers to, or that of the
// configuration's signing key.
func (f *verifyFlags) publicKey() (string, error) {
	if f.key != "" {
		b, err := config.Secret(f.key).Read()
		if err != nil {
			return "", usage(fmt.Errorf("--key: %w", err))
		}
		return string(b), nil
	}
	if f.store.config == "" {
		return "", usage(advise(errors.New("--key is missing"), "gatehouse keygen wrote the public key to signing.pub: --key file:signing.pub"))
	}
	c, err := loadConfig(f.store.config)
	if err != nil {
		return "", err
	}
	signer, err := c.Keys.Signing.Read()
	if err == nil {
		var key string
		if key, err = recorder.VerifierKey(string(signer)); err == nil {
			return key, nil
		}
	}
	return "", advise(config.Problems{c.Problem(err, "keys", "signing")}, "Or name the public key: --key file:%s", filepath.Join("...", "signing.pub"))
}

// progress shows on a terminal how far it is.
func progress(w io.Writer) func(done, total int) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return func(done, total int) {
		fmt.Fprintf(w, "\r%d of %d", done, total)
		if done == total {
			fmt.Fprint(w, "\r\x1b[K")
		}
	}
}

func writeReport(w io.Writer, r *recorder.Report) error {
	for _, p := range r.Problems {
		fmt.Fprintln(w, oneLine(p.String()))
	}
	for _, id := range r.Open {
		fmt.Fprintf(w, "%s goes on, or its gate was not restarted\n", oneLine(id))
	}
	for _, name := range r.Unlogged {
		fmt.Fprintf(w, "%s is not in the log yet\n", oneLine(name))
	}
	if r.Encrypted > 0 {
		fmt.Fprintf(w, "encrypted and not read, though checked: %s; --identity opens them\n", count(r.Encrypted, "piece"))
	}
	verdict := "Verified"
	if !r.OK() {
		verdict = "Not verified"
	}
	if r.Origin == "" {
		_, err := fmt.Fprintf(w, "%s: there is no log to go by.\n", verdict)
		return err
	}
	_, err := fmt.Fprintf(w, "%s: the log %s with %d entries, %s, %s of %d bytes.\n", verdict, oneLine(r.Origin), r.Entries,
		count(r.Sessions, "session"), count(r.Pieces, "piece"), r.Bytes)
	return err
}
