package identity

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4/json" // refuses duplicate names

	"gatehouse/core/event"
)

// An outline is what a token says of itself before its signature was verified.
type outline struct {
	issuer    string
	algorithm string
}

// inspect reads a token's outline. It refuses what no verifier accepts.
func inspect(token string) (outline, error) {
	if token == "" {
		return outline{}, refuse("no token was given")
	}
	if len(token) > MaxToken {
		return outline{}, refuse("the token is too long")
	}
	malformed := refuse("the token is malformed")
	parts := strings.Split(token, ".")
	if len(parts) != 3 || parts[2] == "" {
		return outline{}, malformed
	}
	header, err := decodePart(parts[0])
	if err != nil {
		return outline{}, malformed
	}
	payload, err := decodePart(parts[1])
	if err != nil {
		return outline{}, malformed
	}
	if _, err := base64.RawURLEncoding.Strict().DecodeString(parts[2]); err != nil {
		return outline{}, malformed
	}
	for _, name := range []string{"crit", "b64", "zip", "jwk", "jku", "x5u", "x5c"} {
		if _, ok := header[name]; ok {
			return outline{}, refuse("the token's header has the parameter " + name)
		}
	}
	if t, ok := header["typ"]; ok && !isType(t) {
		return outline{}, refuse("the token is of another type")
	}
	var o outline
	o.algorithm, _ = header["alg"].(string)
	o.issuer, _ = payload["iss"].(string)
	return o, nil
}

// isType is whether a token with this "typ" can be one to sign in with. Logout
// tokens, security events and proofs of possession are not.
func isType(v any) bool {
	s, _ := v.(string)
	switch strings.TrimPrefix(strings.ToLower(s), "application/") {
	case "jwt", "at+jwt":
		return true
	}
	return false
}

func decodePart(s string) (claims, error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return nil, err
	}
	return decodeClaims(b)
}

// claims are the members of a token's payload. Numbers are json.Number.
type claims map[string]any

var errClaims = errors.New("not one JSON object")

// decodeClaims decodes one JSON object, in which no name may occur twice.
func decodeClaims(b []byte) (claims, error) {
	if !utf8.Valid(b) {
		return nil, errClaims
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.SetNumberType(json.UnmarshalJSONNumber)
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	c, ok := v.(map[string]any)
	if _, err := d.Token(); !ok || err != io.EOF {
		return nil, errClaims
	}
	return c, nil
}

// verify returns the claims of a token that the issuer signed for one of the
// audiences and that is valid now.
func (v *Verifier) verify(ctx context.Context, token string, audiences []string) (claims, error) {
	o, err := inspect(token)
	if err != nil {
		return nil, err
	}
	if o.issuer != v.config.Issuer {
		return nil, refuse("the token's issuer is not known")
	}
	if !slices.Contains(v.config.Algorithms, o.algorithm) {
		return nil, refuse("the token's signature algorithm is not allowed")
	}
	signed := &signature{keys: v.keys}
	t, err := oidc.NewVerifier(v.config.Issuer, signed, &oidc.Config{
		SupportedSigningAlgs: v.config.Algorithms,
		SkipClientIDCheck:    true, // several audiences, checked below
		SkipExpiryCheck:      true, // with our skew, checked below
	}).Verify(ctx, token)
	if signed.err != nil {
		return nil, signed.err
	}
	var payload rawClaims
	if err != nil || t.Claims(&payload) != nil {
		return nil, refuse("the token is malformed") // err could quote it
	}
	c, err := decodeClaims(payload)
	if err != nil {
		return nil, refuse("the token is malformed")
	}
	return c, c.check(time.Now(), v.config.Skew, audiences)
}

// rawClaims receives a payload as it is from oidc.IDToken.Claims.
type rawClaims []byte

// UnmarshalJSON implements json.Unmarshaler.
func (r *rawClaims) UnmarshalJSON(b []byte) error {
	*r = bytes.Clone(b)
	return nil
}

// check refuses claims that are for someone else or for another time.
func (c claims) check(now time.Time, skew time.Duration, audiences []string) error {
	if !slices.ContainsFunc(audiences, c.isFor) {
		return refuse("the token is for another audience")
	}
	expires, ok := c.time("exp")
	if !ok {
		return refuse("the token has no valid time of expiry")
	}
	if !now.Before(expires.Add(skew)) {
		return refuse("the token expired at " + expires.Format(time.RFC3339))
	}
	if at, ok := c.time("nbf"); c["nbf"] != nil && (!ok || at.After(now.Add(skew))) {
		return refuse("the token is not valid yet")
	}
	if at, ok := c.time("iat"); c["iat"] != nil && (!ok || at.After(now.Add(skew))) {
		return refuse("the token was issued in the future")
	}
	return nil
}

// isFor is whether the audience is exactly this name or a list that has it.
func (c claims) isFor(audience string) bool {
	switch aud := c["aud"].(type) {
	case string:
		return aud == audience
	case []any:
		return slices.Contains(aud, any(audience))
	}
	return false
}

// maxTime is the last second of a claim, in 2255: later ones do not fit the
// nanoseconds that recordings keep.
const maxTime = 9_000_000_000

// time returns the claim as a time, and whether it is one.
func (c claims) time(name string) (time.Time, bool) {
	n, ok := c[name].(json.Number)
	if !ok {
		return time.Time{}, false
	}
	seconds, err := n.Float64()
	if err != nil || math.IsNaN(seconds) || seconds <= 0 || seconds > maxTime {
		return time.Time{}, false
	}
	return time.Unix(int64(seconds), 0).UTC(), true
}

// principal returns who the claims are about.
func (v *Verifier) principal(c claims) (event.Principal, error) {
	subject, _ := c["sub"].(string)
	if !isText(subject, maxSubject) {
		return event.Principal{}, refuse("the token has no valid subject")
	}
	groups, err := c.groups(v.config.GroupsClaim)
	if err != nil {
		return event.Principal{}, err
	}
	for i := range groups {
		groups[i] = v.config.GroupPrefix + groups[i]
	}
	expires, _ := c.time("exp")
	return event.Principal{
		Issuer:  v.config.Issuer,
		Subject: subject,
		Name:    c.name(v.config.NameClaim, subject),
		Groups:  groups,
		Expires: expires,
	}, nil
}

// name returns what to call the subject: the claim if one is given, otherwise
// the first that fits. An address that the issuer says is unverified is not
// used, under whatever claim: anyone could have entered it.
func (c claims) name(claim, subject string) string {
	unverified := ""
	if v := c["email_verified"]; v == false || v == "false" {
		unverified, _ = c["email"].(string)
	}
	candidates := []string{"email", "preferred_username"}
	if claim != "" {
		candidates = []string{claim}
	}
	for _, name := range candidates {
		s, _ := c.at(name).(string)
		if isText(s, maxName) && !strings.EqualFold(s, unverified) {
			return s
		}
	}
	return subject
}

// groups returns the groups in a claim: a list of names, one name, or nothing.
func (c claims) groups(claim string) ([]string, error) {
	malformed := refuse("the token's groups are malformed")
	var groups []string
	switch v := c.at(claim).(type) {
	case nil:
	case string:
		groups = []string{v}
	case []any:
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, malformed
			}
			groups = append(groups, s)
		}
	default:
		return nil, malformed
	}
	if len(groups) > maxGroups {
		return nil, refuse("the token has too many groups")
	}
	for _, g := range groups {
		if !isText(g, maxName) {
			return nil, malformed
		}
	}
	return groups, nil
}

// at returns the claim of this name or, failing that, the one at this path of
// names with dots between.
func (c claims) at(path string) any {
	if v, ok := c[path]; ok {
		return v
	}
	var v any = map[string]any(c)
	for name := range strings.SplitSeq(path, ".") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

// isText is whether s can be shown and compared: not empty, not too long, with
// no control or format characters and nothing that was not decoded.
func isText(s string, max int) bool {
	return s != "" && len(s) <= max && !strings.ContainsFunc(s, func(r rune) bool {
		return r == utf8.RuneError || !unicode.IsGraphic(r)
	})
}
