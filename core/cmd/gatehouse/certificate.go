package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"gatehouse/core/cmd/gatehouse/config"
)

// recheck is how often the files of a certificate are looked at, at the most.
const recheck = time.Second

// A certificate is read again when its files change, so that it can be renewed
// while the gate runs. One that cannot be read leaves the old one in place.
type certificate struct {
	files config.TLS
	log   *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	state   [2]time.Time // when the files were changed that current was read from
	looked  time.Time
}

// serverTLS returns the configuration of a TLS server with c. With authorities
// for clients, clients must have a certificate of theirs.
func serverTLS(c config.TLS, log *slog.Logger) (*tls.Config, error) {
	f := &certificate{files: c, log: log}
	if err := f.read(); err != nil {
		return nil, err
	}
	if until := f.current.Leaf.NotAfter; time.Now().After(until) {
		return nil, fmt.Errorf("the certificate expired at %s", until.UTC().Format(time.RFC3339))
	}
	t := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.get(), nil },
	}
	if c.ClientCA != "" {
		pem, err := os.ReadFile(string(c.ClientCA))
		if err != nil {
			return nil, fmt.Errorf("read client_ca: %w", err)
		}
		t.ClientCAs = x509.NewCertPool()
		if !t.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("client_ca: %s holds no certificate", c.ClientCA)
		}
		t.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return t, nil
}

// get returns the certificate as its files have it.
func (f *certificate) get() *tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) < recheck {
		return f.current
	}
	f.looked = time.Now()
	if state, err := f.stat(); err == nil && state == f.state {
		return f.current
	}
	if err := f.read(); err != nil {
		f.log.Error("certificate was not renewed", "certificate", string(f.files.Certificate), "error", err)
	} else {
		f.log.Info("certificate renewed", "certificate", string(f.files.Certificate), "until", f.current.Leaf.NotAfter)
	}
	return f.current
}

func (f *certificate) stat() (state [2]time.Time, err error) {
	for i, p := range []config.Path{f.files.Certificate, f.files.Key} {
		info, err := os.Stat(string(p))
		if err != nil {
			return state, fmt.Errorf("look at certificate: %w", err)
		}
		state[i] = info.ModTime()
	}
	return state, nil
}

// read reads the files. The caller holds mu, or is alone.
func (f *certificate) read() error {
	state, err := f.stat()
	if err != nil {
		return err
	}
	c, err := tls.LoadX509KeyPair(string(f.files.Certificate), string(f.files.Key))
	if err != nil {
		return fmt.Errorf("load certificate: %w", err)
	}
	f.current, f.state = &c, state
	return nil
}
