package recorder

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
)

// encryptionAge is the Header's Encryption of a body that is an age file.
const encryptionAge = "age"

// MaxRecipients bounds Options.Recipients.
const MaxRecipients = 16

// ErrNoIdentity means that a recording is encrypted and that none of the
// identities at hand opens it.
var ErrNoIdentity = errors.New("the recording is encrypted, and no identity that opens it was given")

// Identities open encrypted recordings. They are the secret halves of
// Options.Recipients.
type Identities []age.Identity

// ParseIdentities reads an identity file of age: native X25519 identities, one a
// line. Its error does not contain the secret.
func ParseIdentities(text string) (Identities, error) {
	var ids Identities
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, err := age.ParseX25519Identity(line)
		if err != nil {
			return nil, errors.New("not an age identity (AGE-SECRET-KEY-1...)")
		}
		ids = append(ids, id)
	}
	if len(ids) == 0 {
		return nil, errors.New("there is no age identity")
	}
	return ids, nil
}

// GenerateIdentity returns a new identity and the recipient that belongs to it.
func GenerateIdentity() (identity, recipient string, err error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", "", fmt.Errorf("generate identity: %w", err)
	}
	return id.String(), id.Recipient().String(), nil
}

// CheckRecipient returns why text cannot be one of Options.Recipients.
func CheckRecipient(text string) error {
	_, err := age.ParseX25519Recipient(text)
	return err
}

func parseRecipients(texts []string) ([]age.Recipient, error) {
	if len(texts) > MaxRecipients {
		return nil, fmt.Errorf("recorder: %d recipients, more than %d", len(texts), MaxRecipients)
	}
	var all []age.Recipient
	for _, text := range texts {
		r, err := age.ParseX25519Recipient(text)
		if err != nil {
			return nil, fmt.Errorf("recorder: recipient %q: %w", text, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// encrypt appends plain, encrypted to the recipients, to b.
func encrypt(b, plain []byte, recipients []age.Recipient) ([]byte, error) {
	out := bytes.NewBuffer(b)
	w, err := age.Encrypt(out, recipients...)
	if err == nil {
		_, err = w.Write(plain)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	return out.Bytes(), nil
}

// open returns what reads the body of a piece.
func (ids Identities) open(h *Header, body io.Reader) (io.Reader, error) {
	switch h.Encryption {
	case "":
		return body, nil
	case encryptionAge:
		return ids.decrypt(body)
	}
	return nil, fmt.Errorf("%w: encryption %q is not known", ErrMalformed, h.Encryption)
}

func (ids Identities) decrypt(r io.Reader) (io.Reader, error) {
	if len(ids) == 0 {
		return nil, ErrNoIdentity
	}
	plain, err := age.Decrypt(r, ids...)
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return nil, ErrNoIdentity
	}
	if err != nil {
		return nil, bodyError(err)
	}
	return plain, nil
}

// A private is what of a manifest is encrypted where recordings are.
type private struct {
	Resource  string    `json:"resource"`
	Policy    string    `json:"policy"`
	Principal Principal `json:"principal"`
	Client    string    `json:"client"`
	Code      string    `json:"code,omitempty"`
	Reason    string    `json:"reason,omitempty"`
}

// conceal moves what is private from s into the ciphertext that it returns.
func (s *Summary) conceal(recipients []age.Recipient) ([]byte, error) {
	p := private{s.Resource, s.Policy, s.Principal, s.Client, s.Code, s.Reason}
	b, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	s.blank()
	return encrypt(nil, b, recipients)
}

func (s *Summary) blank() {
	s.Resource, s.Policy, s.Principal, s.Client, s.Code, s.Reason = "", "", Principal{}, "", "", ""
	s.Encrypted = true
}

// reveal completes s from a ciphertext of conceal.
func (s *Summary) reveal(ciphertext []byte, ids Identities) error {
	r, err := ids.decrypt(bytes.NewReader(ciphertext))
	if err != nil {
		return err
	}
	var p private
	if err := json.NewDecoder(r).Decode(&p); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	s.Resource, s.Policy, s.Principal, s.Client, s.Code, s.Reason = p.Resource, p.Policy, p.Principal, p.Client, p.Code, p.Reason
	s.Encrypted = false
	return nil
}
