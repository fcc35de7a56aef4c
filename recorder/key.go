package recorder

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// GenerateKey returns a new Ed25519 key for the log called name, by convention
// an URL without a scheme ("gatehouse.example.com/gate-1"). The signer key is
// the gate's secret; the verifier key goes to those who verify.
func GenerateKey(name string) (signer, verifier string, err error) {
	if signer, verifier, err = note.GenerateKey(rand.Reader, name); err != nil {
		return "", "", fmt.Errorf("generate key: %w", err)
	}
	if _, err := newSigner(signer); err != nil {
		return "", "", err
	}
	return signer, verifier, nil
}

// VerifierKey returns the verifier key that belongs to a signer key.
func VerifierKey(signer string) (string, error) {
	s, err := newSigner(signer)
	if err != nil {
		return "", err
	}
	// "PRIVATE+KEY+name+hash+data", where data is an algorithm and a seed.
	// The data's base64 may contain a plus itself.
	fields := strings.SplitN(strings.TrimSpace(signer), "+", 5)
	data, err := base64.StdEncoding.DecodeString(fields[len(fields)-1])
	if err != nil || len(data) != 1+ed25519.SeedSize {
		return "", errors.New("signer key: not an Ed25519 key")
	}
	public := ed25519.NewKeyFromSeed(data[1:]).Public().(ed25519.PublicKey)
	return note.NewEd25519VerifierKey(s.Name(), public)
}

// newSigner never puts the key into its error.
func newSigner(key string) (note.Signer, error) {
	s, err := note.NewSigner(strings.TrimSpace(key))
	if err != nil {
		return nil, errors.New("recorder: Key is not a signer key")
	}
	return s, nil
}
