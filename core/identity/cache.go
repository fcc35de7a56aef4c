package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

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
