package identity

import (
	"strings"
	"testing"
	"time"

	"gatehouse/core/identity/issuer"
)

// Whatever a client sends, it is refused with a reason that says nothing of it.
func FuzzToken(f *testing.F) {
	i, err := issuer.New(issuer.Config{URL: "https://id.example"})
	if err != nil {
		f.Fatal(err)
	}
	stranger, err := issuer.New(issuer.Config{URL: "https://id.example"})
	if err != nil {
		f.Fatal(err)
	}
	l := &line{handler: i}
	c := Config{Issuer: "https://id.example", Audiences: []string{"gatehouse"}}
	v, err := New(f.Context(), c)
	if err != nil {
		f.Fatal(err)
	}
	v.Close()
	v.keys.client.Transport = l
	_, v.keys.set, err = v.keys.download(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	valid := mint(f, i, nil)
	if _, err := v.Authenticate(f.Context(), valid); err != nil {
		f.Fatal(err)
	}
	f.Add(valid[:len(valid)-4])
	f.Add(mint(f, stranger, nil))
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("a.b.c")
	f.Add(`{"payload":"","signatures":[]}`)
	f.Fuzz(func(t *testing.T, token string) {
		p, err := v.Authenticate(t.Context(), token)
		if err == nil && p.Subject != "agent-7" {
			t.Fatalf("accepted as %+v", p)
		}
		if err != nil && len(token) > 40 && strings.Contains(err.Error(), token) {
			t.Fatalf("the error quotes the token: %v", err)
		}
	})
}

func FuzzClaims(f *testing.F) {
	f.Add([]byte(`{"sub":"a","aud":["x"],"exp":1700000000,"nbf":1.5,"groups":["g"],"email":"a@b"}`))
	f.Add([]byte(`{"a":{"b":{"c":["d"]}},"exp":-1e9}`))
	v := &Verifier{config: Config{GroupsClaim: "a.b.c"}.withDefaults()}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeClaims(b)
		if err != nil {
			return
		}
		_ = c.check(time.Unix(1700000000, 0), time.Minute, []string{"x"})
		p, err := v.principal(c)
		if err != nil {
			return
		}
		if p.Name == "" || !isText(p.Subject, maxSubject) || len(p.Groups) > maxGroups {
			t.Errorf("%+v", p)
		}
		if !p.Expires.IsZero() && p.Expires.UnixNano() < 0 {
			t.Errorf("expires %v", p.Expires)
		}
	})
}

// What an issuer or the disk yields is keys that can verify, or an error.
func FuzzKeys(f *testing.F) {
	f.Add([]byte(`{"issuer":"https://id.example","fetched":"2026-01-01T00:00:00Z","keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AQAB"},{}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		set, err := decodeKeys(b)
		if err == nil && (len(set) == 0 || len(set) > maxKeys) {
			t.Errorf("%d keys", len(set))
		}
		for _, k := range set {
			if !k.IsPublic() || !k.Valid() {
				t.Errorf("key %T", k.Key)
			}
		}
		if cached, err := decodeCache(b, "https://id.example"); err == nil && len(cached.Keys) == 0 {
			t.Error("a cache without keys")
		}
	})
}

func FuzzReturnPath(f *testing.F) {
	for _, s := range []string{"/", "//x", "/\\x", "/a?b#c", "http://x", "/%2f/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p := localPath(s)
		if !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") || strings.ContainsAny(p, "\\\r\n\t ") {
			t.Errorf("%q became %q", s, p)
		}
	})
}
