package main

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aead.dev/minisign"

	"gatehouse/core/cmd/gatehouse/config"
	"gatehouse/plugins/host"
)

// Where there are signers, a module is loaded only with a signature of it by one
// of them.
func TestModulesAreSigned(t *testing.T) {
	public, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, stranger, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	module := []byte("a module")
	file := filepath.Join(t.TempDir(), "a.wasm")
	if err := os.WriteFile(file, module, 0o600); err != nil {
		t.Fatal(err)
	}
	c := &config.Plugin{Module: config.Path(file), SHA256: fmt.Sprintf("%x", sha256.Sum256(module))}
	signers := []minisign.PublicKey{public}
	if _, err := readModule(c, host.DefaultModule, signers); err == nil || !strings.Contains(err.Error(), "signature") {
		t.Errorf("without a signature: %v", err)
	}
	for name, test := range map[string]struct {
		signature []byte
		signers   []minisign.PublicKey
		good      bool
	}{
		"good":             {minisign.Sign(private, module), signers, true},
		"one of several":   {minisign.Sign(private, module), []minisign.PublicKey{other, public}, true},
		"a stranger's":     {minisign.Sign(stranger, module), signers, false},
		"of other content": {minisign.Sign(private, []byte("another module")), signers, false},
		"nonsense":         {[]byte("nonsense"), signers, false},
		"empty":            {nil, signers, false},
		"no key":           {minisign.Sign(private, module), make([]minisign.PublicKey, 1), false},
		"large":            {make([]byte, maxSignature+1), signers, false},
	} {
		if err := os.WriteFile(file+".minisig", test.signature, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readModule(c, host.DefaultModule, test.signers); (err == nil) != test.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}
