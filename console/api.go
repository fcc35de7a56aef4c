package console

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"

	"gatehouse/core/event"
)

const (
	// RequestHeader must be set, to any value, on requests that change
	// something: no form and no link of another site can set it.
	RequestHeader = "Gatehouse-Request"
	// maxBody is how many bytes a request's body may have.
	maxBody = 64 << 10
)

// A handler serves one request of a principal. The error it returns becomes
// the response.
type handler func(w http.ResponseWriter, r *http.Request, by event.Principal) error

// An apiError is what went wrong and what to do next.
type apiError struct {
	status     int
	what, next string
}

func (e *apiError) Error() string { return e.what }

// api authenticates a request, protects it against other sites and serves it.
func (c *Console) api(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := c.guard(r)
		if err == nil {
			var by event.Principal
			if by, err = c.SignIn.Principal(r); err != nil || by.Subject == "" {
				c.Log.Debug("console refused a request", "path", r.URL.Path, "error", err)
				err = errSignedOut
			} else {
				err = h(w, r, by)
			}
		}
		if err == nil || r.Context().Err() != nil {
			return
		}
		var known *apiError
		if !errors.As(err, &known) {
			c.Log.Error("console failed", "path", r.URL.Path, "error", err)
			known = &apiError{http.StatusInternalServerError, "the gate could not answer", "its log says why; try again"}
		}
		writeError(w, known)
	})
}

var errSignedOut = &apiError{http.StatusUnauthorized, "you are not signed in, or your sign-in has expired", "sign in again"}

// guard refuses what another site could have made a browser send.
func (c *Console) guard(r *http.Request) error {
	// A bearer token is not sent by a browser of itself.
	scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	bearer := strings.EqualFold(scheme, "Bearer")
	origin := r.Header.Get("Origin")
	upgrade := r.Header.Get("Upgrade") != ""
	changes := r.Method != http.MethodGet && r.Method != http.MethodHead
	if origin != "" && origin != c.origin || origin == "" && !bearer && (upgrade || changes) {
		return &apiError{http.StatusForbidden, "this request comes from another site", "open the console at " + c.origin}
	}
	if !changes {
		return nil
	}
	if r.Header.Get(RequestHeader) == "" {
		return &apiError{http.StatusForbidden, "the header " + RequestHeader + " is missing", "use the console's page or the gatehouse command"}
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return &apiError{http.StatusUnsupportedMediaType, "the body is not application/json", "send JSON"}
	}
	return nil
}

// readJSON reads the one JSON value that is the body of r.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, err = d.Token(); err == io.EOF {
			return nil
		}
	}
	return &apiError{http.StatusBadRequest, "the body is not the JSON that is expected here", "the page and the command line may be of another version than the gate: reload, or update"}
}

// writeJSON writes v. Its error is one of encoding: nothing was written then.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	kind := "application/json"
	if _, ok := v.(Problem); ok {
		kind = "application/problem+json"
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = w.Write(b) // the client went away
	return nil
}

func writeError(w http.ResponseWriter, e *apiError) {
	_ = writeJSON(w, e.status, Problem{e.status, e.what, e.next})
}

// A Problem is the body of every response that is an error, as RFC 9457 has it.
type Problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`  // what went wrong
	Detail string `json:"detail"` // what to do next
}
