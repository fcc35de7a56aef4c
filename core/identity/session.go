package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"sync"
	"time"

	"gatehouse/core/event"
)

// maxSessions is how many sessions are kept; a further one ends the one that
// would end first.
const maxSessions = 10_000

// sessions are the people signed in, by the digest of what their cookie says.
// The zero value is empty.
type sessions struct {
	mu   sync.Mutex
	byID map[[sha256.Size]byte]event.Principal
}

// add begins a session that ends when p expires and returns its new id.
func (s *sessions) add(p event.Principal, now time.Time) string {
	id := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID == nil {
		s.byID = map[[sha256.Size]byte]event.Principal{}
	}
	if len(s.byID) >= maxSessions {
		s.makeRoom(now)
	}
	s.byID[sha256.Sum256([]byte(id))] = p
	return id
}

func (s *sessions) makeRoom(now time.Time) {
	var first [sha256.Size]byte
	var earliest time.Time
	for id, p := range s.byID {
		if !now.Before(p.Expires) {
			delete(s.byID, id)
		} else if earliest.IsZero() || p.Expires.Before(earliest) {
			first, earliest = id, p.Expires
		}
	}
	if len(s.byID) >= maxSessions {
		delete(s.byID, first)
	}
}

// get returns whose session it is, and whether it lasts.
func (s *sessions) get(id string, now time.Time) (event.Principal, bool) {
	key := sha256.Sum256([]byte(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.byID[key]
	if ok && !now.Before(p.Expires) {
		delete(s.byID, key)
		ok = false
	}
	return p, ok
}

func (s *sessions) remove(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, sha256.Sum256([]byte(id)))
}

// cookies reads and writes the console's cookies. They are sent along when a
// link is followed from elsewhere, so that a link to a held request works, and
// then can change nothing; see SignIn.Principal.
type cookies struct {
	secure bool // the console is https
}

const flowTime = 10 * time.Minute

// name returns a cookie's name. With https the prefix keeps other hosts of the
// same domain from setting it.
func (c cookies) name(s string) string {
	if c.secure {
		return "__Host-gatehouse-" + s
	}
	return "gatehouse-" + s
}

func (c cookies) set(w http.ResponseWriter, name, value string, age time.Duration) {
	cookie := &http.Cookie{
		Name:     c.name(name),
		Value:    value,
		Path:     "/",
		MaxAge:   int(age / time.Second),
		Secure:   c.secure,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	}
	if cookie.MaxAge <= 0 {
		cookie.MaxAge = -1 // removes it
	}
	http.SetCookie(w, cookie)
}

func (c cookies) get(r *http.Request, name string) (string, bool) {
	found := r.CookiesNamed(c.name(name))
	if len(found) != 1 || found[0].Value == "" {
		return "", false
	}
	return found[0].Value, true
}

func (c cookies) setSession(w http.ResponseWriter, id string, age time.Duration) {
	c.set(w, "session", id, age)
}

func (c cookies) session(r *http.Request) (string, bool) { return c.get(r, "session") }

func (c cookies) clearSession(w http.ResponseWriter) { c.set(w, "session", "", 0) }

func (c cookies) setFlow(w http.ResponseWriter, f flow) {
	path := base64.RawURLEncoding.EncodeToString([]byte(f.returnTo))
	c.set(w, "signin", f.secret+"."+path, flowTime)
}

func (c cookies) flow(r *http.Request) (flow, bool) {
	value, ok := c.get(r, "signin")
	secret, encoded, cut := strings.Cut(value, ".")
	path, err := base64.RawURLEncoding.DecodeString(encoded)
	if !ok || !cut || err != nil || secret == "" {
		return flow{}, false
	}
	return flow{secret: secret, returnTo: localPath(string(path))}, true
}

func (c cookies) clearFlow(w http.ResponseWriter) { c.set(w, "signin", "", 0) }
