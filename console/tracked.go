package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gatehouse/core/approval"
	"gatehouse/core/event"
)

// Tracking is which columns count as protected since a statement stored protected
// values there, and lifts them. Its methods are safe for concurrent use.
type Tracking interface {
	// Sees is whether a principal may see such columns, and whether the gate
	// tracks any.
	Sees(by event.Principal) (may, any bool)
	// List returns those of a resource, of all for "", that by may see.
	List(ctx context.Context, by event.Principal, resource string) ([]Tracked, error)
	// Lift makes one, as it was shown, one that is not tracked any more. The
	// error is a *LiftError where that is not to be.
	Lift(ctx context.Context, by event.Principal, client string, l Lift) (Lifted, error)
}

// A LiftError is why a column cannot be lifted, and what to do next.
type LiftError struct {
	Why, Next string
	// Forbidden is whether it is for who asks, and not for what the column is.
	Forbidden bool
}

// Error says why.
func (e *LiftError) Error() string { return e.Why }

// A Tracked is a column that counts as protected since a statement stored protected
// values there.
type Tracked struct {
	// ID stands for all that is shown here; it goes back with what is lifted.
	ID       string   `json:"id"`
	Resource string   `json:"resource"`
	Database string   `json:"database"`
	Column   string   `json:"column"` // "schema.table.column", as it is called now
	From     []string `json:"from"`   // the protected columns whose values it holds
	// Computed is whether it holds something else than their values as they are.
	Computed bool `json:"computed"`
	// State is "there", "gone", "making", "left" or "unknown".
	State string `json:"state"`
	// Temporary is whether it goes with its session.
	Temporary bool `json:"temporary,omitempty"`
	// Causes are the statements that stored them, the first of each principal.
	Causes []Cause `json:"causes"`
	// MayLift is whether the reader may; if not, WhyNot says why.
	MayLift bool   `json:"may_lift"`
	WhyNot  string `json:"why_not,omitempty"`
}

// A Cause is a statement that stored protected values.
type Cause struct {
	Session   string    `json:"session"`
	Exchange  uint64    `json:"exchange"`
	Principal Principal `json:"principal"`
	At        time.Time `json:"at"`
	Statement string    `json:"statement"` // its beginning, masked
}

// A Lift asks that a column be one that is not tracked any more.
type Lift struct {
	Resource string `json:"resource"`
	Column   string `json:"column"`
	ID       string `json:"id"` // as it was shown
	Comment  string `json:"comment"`
}

// Lifted is what was lifted, and the session of which the recording says so.
type Lifted struct {
	Resource string `json:"resource"`
	Column   string `json:"column"`
	Session  string `json:"session"`
}

// TrackedColumns is a list of Tracked.
type TrackedColumns struct {
	Tracked []Tracked `json:"tracked"`
}

// tracking serves those who may see what is tracked.
func (c *Console) tracking(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request, by event.Principal) error {
		may := false
		if c.Tracking != nil {
			may, _ = c.Tracking.Sees(by)
		}
		if !may {
			return &apiError{http.StatusForbidden, "you are in none of the groups that may see tracked columns", "ask whoever runs the gate to add one of your groups to the lifters of a policy, or to the console's viewers"}
		}
		return h(w, r, by)
	}
}

// listTracked returns what is tracked, of the query parameter resource.
func (c *Console) listTracked(w http.ResponseWriter, r *http.Request, by event.Principal) error {
	list, err := c.Tracking.List(r.Context(), by, r.URL.Query().Get("resource"))
	if err != nil {
		return fmt.Errorf("list tracked columns: %w", err)
	}
	return writeJSON(w, http.StatusOK, TrackedColumns{append([]Tracked{}, list...)})
}

// lift makes a column one that is not tracked any more.
func (c *Console) lift(w http.ResponseWriter, r *http.Request, by event.Principal) error {
	var l Lift
	if err := readJSON(w, r, &l); err != nil {
		return err
	}
	switch {
	case strings.TrimSpace(l.Comment) == "":
		return &apiError{http.StatusBadRequest, "there is no comment", "say why the column holds nothing that has to be protected"}
	case !approval.IsComment(l.Comment):
		return approvalError(approval.ErrComment)
	}
	done, err := c.Tracking.Lift(r.Context(), by, r.RemoteAddr, l)
	if why, is := errors.AsType[*LiftError](err); is {
		status := http.StatusConflict
		if why.Forbidden {
			status = http.StatusForbidden
		}
		return &apiError{status, why.Why, why.Next}
	}
	if err != nil {
		return fmt.Errorf("lift a tracked column: %w", err)
	}
	c.Log.Info("tracked column lifted", "resource", done.Resource, "column", done.Column, "recorded", done.Session,
		"issuer", by.Issuer, "subject", by.Subject)
	return writeJSON(w, http.StatusOK, done)
}

// Tracked returns what is tracked of a resource, of all for "", as far as the
// client's bearer may see it.
func (c *Client) Tracked(ctx context.Context, resource string) ([]Tracked, error) {
	var list TrackedColumns
	err := c.do(ctx, http.MethodGet, "/api/tracked?"+url.Values{"resource": {resource}}.Encode(), nil, &list)
	return list.Tracked, err
}

// Lift makes a column that was shown as t one that is not tracked any more.
func (c *Client) Lift(ctx context.Context, t Tracked, comment string) (Lifted, error) {
	var done Lifted
	err := c.do(ctx, http.MethodPost, "/api/tracked", Lift{Resource: t.Resource, Column: t.Column, ID: t.ID, Comment: comment}, &done)
	return done, err
}
