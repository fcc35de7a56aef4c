package identity

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/core/event"
)

// Providers are the verifiers of several issuers. They are safe for concurrent
// use.
type Providers struct {
	byIssuer map[string]*Verifier
}

// NewProviders returns the verifiers as one. It owns them from then on.
func NewProviders(verifiers ...*Verifier) (*Providers, error) {
	p := &Providers{byIssuer: map[string]*Verifier{}}
	for _, v := range verifiers {
		if p.byIssuer[v.Issuer()] != nil {
			return nil, &ConfigError{Field: "Issuer", Value: v.Issuer(), Err: errors.New("occurs twice")}
		}
		p.byIssuer[v.Issuer()] = v
	}
	return p, nil
}

// Authenticate has the token verified by the verifier of the issuer that it
// names. A refusal is an *Error.
func (p *Providers) Authenticate(ctx context.Context, token string) (event.Principal, error) {
	o, err := inspect(token)
	if err != nil {
		return event.Principal{}, err
	}
	v := p.byIssuer[o.issuer]
	if v == nil {
		return event.Principal{}, refuse("the token's issuer is not known")
	}
	return v.Authenticate(ctx, token)
}

// Ready returns nil if the tokens of every issuer can be verified, and
// otherwise why not.
func (p *Providers) Ready() error {
	var errs []error
	for issuer, v := range p.byIssuer {
		if err := v.Ready(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", issuer, err))
		}
	}
	return errors.Join(errs...)
}

// Close closes the verifiers.
func (p *Providers) Close() error {
	for _, v := range p.byIssuer {
		v.Close()
	}
	return nil
}
