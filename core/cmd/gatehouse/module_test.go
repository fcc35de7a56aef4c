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

// What the program minisign signs is taken, prehashed and in its old form.
func TestMinisignsOwnSignatures(t *testing.T) {
	var key minisign.PublicKey
	if err := key.UnmarshalText([]byte("RWSVHrc3vN3TJsfDLRruiyE2JO/g07YRjZC/Zb7htw71/yk6XtN3PXgg")); err != nil {
		t.Fatal(err)
	}
	module := []byte("a module")
	file := filepath.Join(t.TempDir(), "a.wasm")
	c := &config.Plugin{Module: config.Path(file), SHA256: fmt.Sprintf("%x", sha256.Sum256(module)), Signature: config.Path(file + ".sig")}
	if err := os.WriteFile(file, module, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, signature := range []string{
		`untrusted comment: signature from minisign secret key
RUSVHrc3vN3TJmZEN0GJK/rVcUUpYN2ntjqKT8Q1Hxp9gyhooIScp9bIPhBkj9a/TP6ngV/8cYD/6hyrI2LemIpvrdW8WAiE8QU=
trusted comment: timestamp:1795712039	file:m.wasm	hashed
z6ywfGOTyiKRLLV9Rr6cpNRc0atyya0hhVxcS0PGoCR19kwEIUMb4+2Z1FzPA5OOcywj7Xfjn0OPKXXV9aFiAA==
`,
		`untrusted comment: signature from minisign secret key
RWSVHrc3vN3TJp2Ur8kee95/LyOvRxyYKnjxnTnVFW/4IEF+wKua3AUDd4jL0rMndQai3+t9J+m+yj81gkIBRlHfTnXU9xof1A0=
trusted comment: timestamp:1795712039	file:m.wasm
41oRjELG4ed6mZLtuLljBPXenmPFPc0m8Z5U/XLDMDP64pQ4yMQSLbdbdjae59XrW30zZMRuITPFcQcsWFTtAw==
`,
	} {
		for of, good := range map[string]bool{signature: true, strings.Replace(signature, "timestamp", "Timestamp", 1): false} {
			if err := os.WriteFile(file+".sig", []byte(of), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := readModule(c, host.DefaultModule, []minisign.PublicKey{key}); (err == nil) != good {
				t.Errorf("%s: %v", of, err)
			}
		}
	}
}
