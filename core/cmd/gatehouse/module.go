package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"

	"aead.dev/minisign"

	"gatehouse/core/cmd/gatehouse/config"
	"gatehouse/plugins"
)

// readModules returns the plugins' modules, as far as they can be read and are
// what the configuration says.
func (p *parts) readModules() map[string][]byte {
	signers := p.signers()
	modules := make(map[string][]byte)
	for _, name := range slices.Sorted(maps.Keys(p.config.Plugins)) {
		wasm, err := readModule(p.config.Plugins[name], int64(p.config.Limits.Plugin.Module), signers)
		p.problem(err, "plugins", name)
		if err == nil {
			modules[name] = wasm
		}
	}
	return modules
}

// signers are the keys that modules must be signed by. A key that is none is
// nobody's.
func (p *parts) signers() []minisign.PublicKey {
	signers := make([]minisign.PublicKey, len(p.config.PluginSigners))
	for i, text := range p.config.PluginSigners {
		if err := signers[i].UnmarshalText([]byte(text)); err != nil {
			p.problem(errors.New("not a public key in minisign's format (RW...)"), "plugin_signers", strconv.Itoa(i))
		}
	}
	return signers
}

func readModule(c *config.Plugin, most int64, signers []minisign.PublicKey) ([]byte, error) {
	if c.Builtin != "" {
		return plugins.Builtin(c.Builtin)
	}
	wasm, err := readUpTo(string(c.Module), most)
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	if sum := fmt.Sprintf("%x", sha256.Sum256(wasm)); sum != c.SHA256 {
		return nil, fmt.Errorf("the module's sha256 is %s, not what the configuration says", sum)
	}
	if len(signers) == 0 {
		return wasm, nil
	}
	signature, err := readUpTo(c.SignatureFile(), maxSignature)
	if err != nil {
		return nil, fmt.Errorf("read the module's signature: %w", err)
	}
	if !slices.ContainsFunc(signers, func(k minisign.PublicKey) bool { return minisign.Verify(k, wasm, signature) }) {
		return nil, fmt.Errorf("%s is no signature of the module by one of plugin_signers", c.SignatureFile())
	}
	return wasm, nil
}

const maxSignature = 4 << 10

// readUpTo reads a file of at most limit bytes.
func readUpTo(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return b, err
}
