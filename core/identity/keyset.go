package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// A keySet is what a fetch brought, and what is cached on disk. It does not
// change once it is made.
type keySet struct {
	Issuer  string            `json:"issuer"`
	Fetched time.Time         `json:"fetched"`
	Keys    []jose.JSONWebKey `json:"keys"`
}

// decodeKeys returns the keys of a JSON Web Key Set that can verify
// signatures. Others, symmetric ones foremost, are left out.
func decodeKeys(b []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, err
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("more than %d keys", maxKeys)
	}
	var usable []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) != nil || key.Use != "" && key.Use != "sig" {
			continue
		}
		switch public := key.Key.(type) {
		case *rsa.PublicKey:
			if public.N.BitLen() < 2048 || public.N.BitLen() > 8192 {
				continue
			}
		case *ecdsa.PublicKey, ed25519.PublicKey:
		default:
			continue
		}
		usable = append(usable, jose.JSONWebKey{
			Key: key.Key, KeyID: key.KeyID, Algorithm: key.Algorithm, Use: key.Use,
		})
	}
	if len(usable) == 0 {
		return nil, errors.New("no key that verifies signatures")
	}
	return usable, nil
}

// verify returns the payload if one of the keys signed it, and nil otherwise.
func (s keySet) verify(jws *jose.JSONWebSignature) []byte {
	header := jws.Signatures[0].Header
	for _, key := range s.Keys {
		if header.KeyID != "" && key.KeyID != header.KeyID || key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		if payload, err := jws.Verify(key.Key); err == nil {
			return payload
		}
	}
	return nil
}

// writeCache replaces the file by set, whole or not at all.
func writeCache(file string, set keySet) error {
	b, err := json.Marshal(set)
	if err != nil {
		return fmt.Errorf("encode keys: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write keys: %w", err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write keys: %w", err), os.Remove(f.Name()))
	}
	return nil
}

// readCache returns the issuer's keys in file; none if there is no file.
func readCache(file, issuer string) (keySet, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return keySet{}, nil
	}
	if err != nil {
		return keySet{}, fmt.Errorf("read keys: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return keySet{}, fmt.Errorf("read keys: %w", err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return keySet{}, fmt.Errorf("read keys: others than its owner can write %s", file)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	if err != nil {
		return keySet{}, fmt.Errorf("read keys: %w", err)
	}
	set, err := decodeCache(b, issuer)
	if err != nil {
		return keySet{}, fmt.Errorf("read keys of %s: %w", file, err)
	}
	return set, nil
}

func decodeCache(b []byte, issuer string) (keySet, error) {
	if len(b) > maxDocument {
		return keySet{}, fmt.Errorf("longer than %d bytes", maxDocument)
	}
	var head struct {
		Issuer  string    `json:"issuer"`
		Fetched time.Time `json:"fetched"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return keySet{}, err
	}
	if head.Issuer != issuer {
		return keySet{}, errors.New("they are another issuer's")
	}
	if head.Fetched.After(time.Now()) {
		return keySet{}, errors.New("they are from the future")
	}
	keys, err := decodeKeys(b)
	if err != nil {
		return keySet{}, err
	}
	return keySet{Issuer: issuer, Fetched: head.Fetched, Keys: keys}, nil
}
