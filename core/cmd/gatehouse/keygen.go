package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"gatehouse/core/cmd/gatehouse/config"
	"gatehouse/recorder"
)

func newKeygen() *cobra.Command {
	var name, dir, rotate string
	var recipient bool
	c := &cobra.Command{
		Use:   "keygen",
		Short: "Make a gate's keys",
		Long: `Make a gate's keys: signing.key signs checkpoints over the recordings, hash.key
keys hashes and approvals, and signing.pub is what "gatehouse verify" needs. With
--recipient make recordings.key instead, an age identity that opens recordings
which are encrypted to its recipient. With --rotate make the next signing.key of
a log instead, and its signing.pub: it contains the statement, signed by both
keys, that it replaces the old one, which the gate enters into the log when it
starts with it. Either public key then verifies the whole log, and the old secret
key can be destroyed once the gate has started. Existing files are never overwritten.`,
		Example: `  gatehouse keygen --name gate.example.com/gate-1 --dir /etc/gatehouse
  gatehouse keygen --rotate file:/etc/gatehouse/signing.key --dir /etc/gatehouse/2027
  gatehouse keygen --recipient --dir /secure/auditors`,
		Args: arguments(),
		RunE: func(c *cobra.Command, _ []string) error {
			if recipient {
				return writeIdentity(c.OutOrStdout(), dir)
			}
			if rotate != "" {
				return writeNextKey(c.OutOrStdout(), config.Secret(rotate), dir)
			}
			public, err := writeKeys(name, dir)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "Wrote signing.key, hash.key and signing.pub to %s.\nGive those who verify recordings the public key:\n%s\n", dir, public)
			return err
		},
	}
	c.Flags().StringVar(&name, "name", "gatehouse", "`name` of the log that the key signs, by convention a URL without its scheme")
	c.Flags().StringVar(&dir, "dir", ".", "`directory` for the files")
	c.Flags().BoolVar(&recipient, "recipient", false, "make a recipient of encrypted recordings")
	c.Flags().StringVar(&rotate, "rotate", "", "`reference` to the signing key to replace, env:NAME or file:PATH")
	c.MarkFlagsMutuallyExclusive("rotate", "recipient", "name")
	return c
}

// writeNextKey makes the key that follows old, in dir.
func writeNextKey(w io.Writer, old config.Secret, dir string) error {
	b, err := old.Read()
	if err != nil {
		return usage(fmt.Errorf("--rotate: %w", err))
	}
	next, public, err := recorder.Rotate(string(b))
	if err != nil {
		return usage(fmt.Errorf("--rotate: %w", err))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory for keys: %w", err)
	}
	for name, text := range map[string]string{"signing.key": next, "signing.pub": public + "\n"} {
		if err := create(filepath.Join(dir, name), text); err != nil {
			return advise(err, "Keys are not overwritten. Choose another --dir.")
		}
	}
	_, err = fmt.Fprintf(w, "Wrote signing.key and signing.pub to %s. Name the new key under keys.signing and restart the gate; then destroy the old one.\nThe public key, beside which the old one stays valid:\n%s\n", dir, public)
	return err
}

// writeIdentity makes recordings.key in dir and says whose it is.
func writeIdentity(w io.Writer, dir string) error {
	identity, recipient, err := recorder.GenerateIdentity()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make directory for keys: %w", err)
	}
	file := filepath.Join(dir, "recordings.key")
	if err := create(file, "# recipient: "+recipient+"\n"+identity+"\n"); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "Wrote %s, which opens recordings that are encrypted to its recipient. Keep it away from the gate.\nrecording:\n  encryption:\n    recipients: [%s]\n", file, recipient)
	return err
}

// writeKeys makes the files of a gate's keys in dir and returns the public
// one.
func writeKeys(name, dir string) (public string, err error) {
	signer, public, err := recorder.GenerateKey(name)
	if err != nil {
		return "", usage(err)
	}
	var hash [32]byte
	_, _ = rand.Read(hash[:]) // never fails: crypto/rand
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("make directory for keys: %w", err)
	}
	for _, f := range []struct{ name, text string }{
		{"signing.key", signer},
		{"hash.key", base64.StdEncoding.EncodeToString(hash[:])},
		{"signing.pub", public},
	} {
		err := create(filepath.Join(dir, f.name), f.text+"\n")
		if errors.Is(err, fs.ErrExist) {
			err = advise(err, "Keys are not overwritten: recordings could not be verified any more. Choose another --dir.")
		}
		if err != nil {
			return "", err
		}
	}
	return public, nil
}

// create writes a file that only its owner can read, and that does not exist.
func create(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
