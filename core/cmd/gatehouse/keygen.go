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

	"gatehouse/recorder"
)

func newKeygen() *cobra.Command {
	var name, dir string
	var recipient bool
	c := &cobra.Command{
		Use:   "keygen",
		Short: "Make a gate's keys",
		Long: `Make a gate's keys: signing.key signs checkpoints over the recordings, hash.key
keys hashes and approvals, and signing.pub is what "gatehouse verify" needs. With
--recipient make recordings.key instead, an age identity that opens recordings
which are encrypted to its recipient. Existing files are never overwritten.`,
		Example: "  gatehouse keygen --name gate.example.com/gate-1 --dir /etc/gatehouse",
		Args:    arguments(),
		RunE: func(c *cobra.Command, _ []string) error {
			if recipient {
				return writeIdentity(c.OutOrStdout(), dir)
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
	return c
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
