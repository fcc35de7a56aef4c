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
	if _, err := newFileSigner(signer); err != nil {
		return "", "", err
	}
	return signer, verifier, nil
}

// VerifierKey returns the verifier key that belongs to a signer key.
func VerifierKey(signer string) (string, error) {
	s, _, err := parseKey(signer)
	if err != nil {
		return "", err
	}
	return s.VerifierKey(), nil
}

// A fileSigner is the Signer of a key that the gate has itself.
type fileSigner struct {
	note.Signer
	verifier string
}

func (f *fileSigner) VerifierKey() string { return f.verifier }

var errKey = errors.New("recorder: Key is not a signer key")

// newFileSigner never puts the key into its error.
func newFileSigner(key string) (*fileSigner, error) {
	key = strings.TrimSpace(key)
	s, err := note.NewSigner(key)
	if err != nil {
		return nil, errKey
	}
	// "PRIVATE+KEY+name+hash+data", where data is an algorithm and a seed.
	// The data's base64 may contain a plus itself.
	fields := strings.SplitN(key, "+", 5)
	data, err := base64.StdEncoding.DecodeString(fields[len(fields)-1])
	if err != nil || len(data) != 1+ed25519.SeedSize {
		return nil, errKey
	}
	public := ed25519.NewKeyFromSeed(data[1:]).Public().(ed25519.PublicKey)
	verifier, err := note.NewEd25519VerifierKey(s.Name(), public)
	if err != nil {
		return nil, errKey
	}
	return &fileSigner{s, verifier}, nil
}

// A publicKey is a verifier key with its text. The hash that note.Verifier has
// is short, so that whoever makes keys can make two that agree in it: compare
// the text.
type publicKey struct {
	note.Verifier
	text string
}

// parsePublicKey accepts the one canonical text of a verifier key.
func parsePublicKey(text string) (publicKey, error) {
	v, err := note.NewVerifier(text)
	if err != nil {
		return publicKey{}, err
	}
	data := strings.SplitN(text, "+", 3)[2] // "name+hash+data", as it was parsed
	if b, err := base64.StdEncoding.Strict().DecodeString(data); err != nil || base64.StdEncoding.EncodeToString(b) != data {
		return publicKey{}, errors.New("malformed verifier key")
	}
	return publicKey{v, text}, nil
}

// signer returns what signs the log, and the rotations that led to it.
func (o *Options) signer() (Signer, []rotation, error) {
	if o.Signer == nil {
		return parseKey(o.Key)
	}
	if o.Key != "" {
		return nil, nil, errors.New("recorder: Key and Signer exclude each other")
	}
	_, err := newNoteSigner(o.Signer)
	return o.Signer, nil, err
}
