package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"aead.dev/minisign"
	"github.com/spf13/cobra"

	"gatehouse/core/cmd/gatehouse/config"
)

// signatureSuffix is what the name of a module's signature ends in.
const signatureSuffix = ".minisig"

func newPluginSign() *cobra.Command {
	var key, password, generate string
	c := &cobra.Command{
		Use:   "sign MODULE",
		Short: "Sign a module, as minisign does",
		Long: `Sign a module, as minisign does: MODULE.minisig is what a gate demands beside it
where its configuration requires signatures. Keys are those of minisign, too. With
--new-key make a pair of keys instead, without a password: NAME.key, which signs,
and NAME.pub, which the gate's configuration names. Existing keys are never
overwritten.`,
		Example: `  gatehouse plugin sign --new-key plugins
  gatehouse plugin sign tellers.wasm --key file:plugins.key`,
		Args: func(c *cobra.Command, args []string) error {
			if generate != "" {
				return arguments()(c, args)
			}
			return arguments("MODULE")(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error {
			if generate != "" {
				return newPluginKey(c.OutOrStdout(), generate)
			}
			private, err := pluginKey(key, password)
			if err != nil {
				return err
			}
			return signModule(c.OutOrStdout(), args[0], private)
		},
	}
	c.Flags().StringVar(&key, "key", "", "`reference` to the secret key, env:NAME or file:PATH")
	c.Flags().StringVar(&password, "password", "", "`reference` to the key's password, if it has one, env:NAME or file:PATH")
	c.Flags().StringVar(&generate, "new-key", "", "make NAME.key and NAME.pub; `name` may be a path")
	c.MarkFlagsMutuallyExclusive("new-key", "key")
	return c
}

func newPluginKey(w io.Writer, name string) error {
	public, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	secret, err := private.MarshalText()
	if err != nil {
		return err
	}
	text, err := public.MarshalText()
	if err != nil {
		return err
	}
	for file, content := range map[string]string{name + ".key": string(secret) + "\n", name + ".pub": string(text) + "\n"} {
		if err := create(file, content); err != nil {
			return advise(err, "Keys are not overwritten. Choose another --new-key.")
		}
	}
	_, err = fmt.Fprintf(w, "Wrote %s.key, which signs, and %s.pub. The public key is\n%s\n", name, name, public)
	return err
}

// pluginKey reads a secret key.
func pluginKey(key, password string) (minisign.PrivateKey, error) {
	var private minisign.PrivateKey
	if key == "" {
		return private, usage(advise(errors.New("--key is missing"), "gatehouse plugin sign --new-key NAME makes one."))
	}
	text, err := config.Secret(key).Read()
	if err != nil {
		return private, usage(fmt.Errorf("--key: %w", err))
	}
	if !minisign.IsEncrypted(text) {
		err = private.UnmarshalText(text)
	} else if password == "" {
		return private, usage(advise(errors.New("the key has a password"), "Say where it is with --password env:NAME or file:PATH."))
	} else {
		var secret []byte
		if secret, err = config.Secret(password).Read(); err == nil {
			private, err = minisign.DecryptKey(string(secret), text)
		}
	}
	if err != nil {
		return private, usage(fmt.Errorf("--key: %w", err))
	}
	return private, nil
}

func signModule(w io.Writer, file string, private minisign.PrivateKey) error {
	module, err := loadModule(file)
	if err != nil {
		return err
	}
	name := filepath.Base(file)
	signature := minisign.SignWithComments(private, module, "file:"+name, "signature of a Gatehouse plugin")
	if err := os.WriteFile(file+signatureSuffix, signature, 0o644); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "Wrote %s%s with key %X.\n", file, signatureSuffix, private.ID())
	return err
}
