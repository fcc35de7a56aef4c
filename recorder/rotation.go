package recorder

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// A Signer signs the log of a gate. The key of a file is one; a key management
// service can be another.
type Signer interface {
	// VerifierKey returns the public key, as GenerateKey does.
	VerifierKey() string
	// Sign returns the Ed25519 signature of a message.
	Sign(message []byte) ([]byte, error)
}

// A noteSigner signs notes with a Signer.
type noteSigner struct {
	publicKey
	s Signer
}

func (n noteSigner) Sign(message []byte) ([]byte, error) { return n.s.Sign(message) }

func newNoteSigner(s Signer) (noteSigner, error) {
	v, err := parsePublicKey(s.VerifierKey())
	if err != nil {
		return noteSigner{}, errors.New("recorder: the signer has no verifier key")
	}
	return noteSigner{v, s}, nil
}

// A rotation states that a log's key was replaced. It is a note that both keys
// sign.
type rotation struct {
	index    int64 // of its entry, where it has one
	old, new publicKey
	text     []byte // the whole note
}

const (
	rotationTitle = "gatehouse key rotation 1"
	maxRotation   = 4 << 10
	// maxRotations bounds how many a key file may hold.
	maxRotations = 64
)

func rotationText(origin, old, new string) string {
	return strings.Join([]string{rotationTitle, origin, old, new, ""}, "\n")
}

// parseRotation reads a rotation and checks both of its signatures.
func parseRotation(b []byte) (rotation, error) {
	if len(b) > maxRotation {
		return rotation{}, errRotation
	}
	text, _, ok := bytes.Cut(b, []byte("\n\n"))
	lines := strings.Split(string(text), "\n")
	if !ok || len(lines) != 4 || lines[0] != rotationTitle {
		return rotation{}, errRotation
	}
	r := rotation{text: b}
	var err1, err2 error
	r.old, err1 = parsePublicKey(lines[2])
	r.new, err2 = parsePublicKey(lines[3])
	if err1 != nil || err2 != nil || r.old.Name() != lines[1] || r.new.Name() != lines[1] || r.old.KeyHash() == r.new.KeyHash() {
		return rotation{}, errRotation
	}
	n, err := note.Open(b, note.VerifierList(r.old, r.new))
	if err != nil || len(n.Sigs) != 2 || n.Sigs[0].Hash == n.Sigs[1].Hash || !canonical(n.Sigs) {
		return rotation{}, errRotation
	}
	return r, nil
}

var errRotation = errors.New("not a key rotation that both keys signed")

// Rotate returns the signer key that follows key in the same log, with the
// statement that it does. Give it to the gate as a whole; the gate enters the
// statement into the log and no longer needs the old key.
func Rotate(key string) (next, verifier string, err error) {
	old, rotations, err := parseKey(key)
	if err != nil {
		return "", "", err
	}
	if len(rotations) >= maxRotations {
		return "", "", fmt.Errorf("rotate key: more than %d rotations", maxRotations)
	}
	oldSigner, err := newNoteSigner(old)
	if err != nil {
		return "", "", err
	}
	next, verifier, err = GenerateKey(oldSigner.Name())
	if err != nil {
		return "", "", err
	}
	newKey, _, err := parseKey(next)
	if err != nil {
		return "", "", err
	}
	newSigner, err := newNoteSigner(newKey)
	if err != nil {
		return "", "", err
	}
	text := rotationText(oldSigner.Name(), old.VerifierKey(), verifier)
	signed, err := note.Sign(&note.Note{Text: text}, oldSigner, newSigner)
	if err != nil {
		return "", "", fmt.Errorf("rotate key: %w", err)
	}
	next += "\n"
	for _, r := range rotations {
		next += "\n" + string(r.text)
	}
	return next + "\n" + string(signed), verifier, nil
}

// parseKey reads a signer key, perhaps with the rotations that led to it, the
// last one at the end. Its error never contains the key.
func parseKey(text string) (Signer, []rotation, error) {
	text = strings.TrimSpace(text)
	if len(text) > (maxRotations+1)*maxRotation {
		return nil, nil, errKey
	}
	key, rest, _ := strings.Cut(text, "\n")
	s, err := newFileSigner(key)
	if err != nil {
		return nil, nil, err
	}
	var rotations []rotation
	for _, part := range strings.Split(rest, rotationTitle+"\n")[1:] {
		r, err := parseRotation([]byte(rotationTitle + "\n" + strings.TrimRight(part, "\n") + "\n"))
		if err != nil {
			return nil, nil, fmt.Errorf("recorder: Key: %w", err)
		}
		rotations = append(rotations, r)
	}
	v, err := parsePublicKey(s.VerifierKey())
	if err != nil {
		return nil, nil, errKey
	}
	for i := len(rotations) - 1; i >= 0; i-- {
		if rotations[i].new.text != v.text {
			return nil, nil, errors.New("recorder: Key: its rotations do not lead to it")
		}
		v = rotations[i].old
	}
	return s, rotations, nil
}

// due returns the rotations that lead from the key that signed a checkpoint to
// the last one.
func due(rotations []rotation, checkpoint string) []rotation {
	for i, r := range slices.Backward(rotations) {
		if _, err := note.Open([]byte(checkpoint), note.VerifierList(r.new)); err == nil {
			return rotations[i+1:]
		}
	}
	return rotations
}
