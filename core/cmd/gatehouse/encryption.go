package main

import (
	"errors"
	"fmt"

	"gatehouse/core/cmd/gatehouse/config"
	"gatehouse/recorder"
)

// readEncryption checks the recipients of recordings and reads the identities
// that open them, if there are any.
func (p *parts) readEncryption() {
	c := p.config.Recording.Encryption
	for i, r := range c.Recipients {
		p.problem(recorder.CheckRecipient(r), "recording", "encryption", "recipients", fmt.Sprint(i))
	}
	if c.Identity == "" {
		return
	}
	b := p.secret(c.Identity, "recording", "encryption", "identity")
	if b == nil {
		return
	}
	var err error
	p.identities, err = recorder.ParseIdentities(string(b))
	p.problem(err, "recording", "encryption", "identity")
}

// readIdentities reads the identities of flags.
func readIdentities(references []string) (recorder.Identities, error) {
	var all recorder.Identities
	for _, r := range references {
		b, err := config.Secret(r).Read()
		if err != nil {
			return nil, usage(fmt.Errorf("--identity: %w", err))
		}
		ids, err := recorder.ParseIdentities(string(b))
		if err != nil {
			return nil, usage(fmt.Errorf("--identity %s: %w", r, err))
		}
		all = append(all, ids...)
	}
	return all, nil
}

// adviseIdentity says what to do where recordings are encrypted.
func adviseIdentity(err error) error {
	if errors.Is(err, recorder.ErrNoIdentity) {
		return advise(err, "Name the identity of one of its recipients: --identity file:recordings.key")
	}
	return err
}
