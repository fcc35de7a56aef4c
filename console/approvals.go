package console

import (
	"cmp"
	"encoding/hex"
	"errors"
	"net/http"
	"time"

	"gatehouse/core/approval"
	"gatehouse/core/event"
)

// shownParams is how many of a request's parameters lists show.
const shownParams = 100

// A Principal is who somebody proved to be.
type Principal struct {
	Issuer  string   `json:"issuer"`
	Subject string   `json:"subject"`
	Name    string   `json:"name"`
	Groups  []string `json:"groups"`
}

func principalView(p event.Principal) Principal {
	return Principal{p.Issuer, p.Subject, p.Name, append([]string{}, p.Groups...)}
}

// label is how people call p.
func label(p event.Principal) string { return cmp.Or(p.Name, p.Subject) }

// A Me is who is signed in, and what they may see.
type Me struct {
	Principal
	Auditor bool      `json:"auditor"` // may see sessions
	Tracks  bool      `json:"tracks"`  // may see tracked columns
	Expires time.Time `json:"expires,omitzero"`
}

// An Attr is a named fact.
type Attr struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

func attrViews(as []event.Attr) []Attr {
	views := make([]Attr, len(as))
	for i, a := range as {
		views[i] = Attr(a)
	}
	return views
}

// An Approval is a request that waits to be decided.
type Approval struct {
	ID string `json:"id"`
	// Digest binds a decision to what is shown; it goes back with it.
	Digest   string `json:"digest"`
	Session  string `json:"session"`
	Exchange uint64 `json:"exchange"`
	Resource string `json:"resource"`
	Protocol string `json:"protocol"`
	Gate     string `json:"gate"`
	Client   string `json:"client"`
	// Principal is who asks.
	Principal Principal `json:"principal"`
	Operation string    `json:"operation"`
	Statement Text      `json:"statement"`
	// Params are the statement's values; null is NULL.
	Params       []*Text   `json:"params"`
	ParamsHidden int       `json:"params_hidden,omitempty"`
	Labels       []Attr    `json:"labels"`
	Attrs        []Attr    `json:"attrs"`
	Rule         string    `json:"rule"`
	Reason       string    `json:"reason"`
	Approvers    []string  `json:"approvers"`
	Since        time.Time `json:"since"`
	Expires      time.Time `json:"expires"`
	// Remaining is how many milliseconds are left, whatever the reader's
	// clock says.
	Remaining int64 `json:"remaining_ms"`
	// MayDecide is whether the reader may; if not, WhyNot says why.
	MayDecide bool `json:"may_decide"`
	// Masked are the columns whose values may be among what is masked in the
	// statement and the parameters, and MayReveal is whether the reader may
	// see them.
	Masked    []string `json:"masked,omitempty"`
	MayReveal bool     `json:"may_reveal,omitempty"`
	WhyNot    string   `json:"why_not,omitempty"`
}

// approvalView returns p as by may see it, whole or as lists show it.
func (c *Console) approvalView(p *event.Pending, by event.Principal, whole bool) Approval {
	head, tail, params := listHead, listTail, shownParams
	if whole {
		head, tail, params = wholeHead, wholeTail, len(p.Request.Params)
	}
	a := Approval{
		ID: p.ID, Digest: hex.EncodeToString(p.Digest[:]),
		Session: p.Session.ID, Exchange: p.Exchange,
		Resource: p.Session.Resource, Protocol: p.Session.Protocol,
		Gate: p.Session.Gate, Client: p.Session.Client,
		Principal: principalView(p.Session.Principal),
		Operation: p.Request.Operation,
		Params:    []*Text{},
		Labels:    attrViews(p.Request.Labels), Attrs: attrViews(p.Request.Attrs),
		Rule: p.Verdict.Rule, Reason: p.Verdict.Reason,
		Approvers: append([]string{}, p.Approvers...),
		Since:     p.Since, Expires: p.Expires,
		Remaining: max(0, time.Until(p.Expires).Milliseconds()),
		MayDecide: true,
		Masked:    p.Request.Masked, MayReveal: c.mayReveal(p, by),
	}
	a.Statement = text(p.Request.Payload, head, tail)
	// The values share what the statement has left, so that a list of many
	// long values stays short.
	left := head + tail - len(a.Statement.Head) - len(a.Statement.Tail)
	for i, v := range p.Request.Params {
		if i >= params {
			a.ParamsHidden = len(p.Request.Params) - i
			break
		}
		if v == nil {
			a.Params = append(a.Params, nil)
			continue
		}
		size := max(left, minParam)
		t := text(v, size*3/4, size/4)
		t.cut(p.Request.CutSize(i))
		left -= len(t.Head) + len(t.Tail)
		a.Params = append(a.Params, &t)
	}
	if err := approval.MayDecide(p, by); err != nil {
		a.MayDecide, a.WhyNot = false, err.Error()
	}
	return a
}

// minParam is how many bytes of a parameter are always shown.
const minParam = 256

// listApprovals returns what waits, oldest first.
func (c *Console) listApprovals(w http.ResponseWriter, r *http.Request, by event.Principal) error {
	views := []Approval{}
	for _, p := range c.Approvals.List(by) {
		views = append(views, c.approvalView(p, by, false))
	}
	return writeJSON(w, http.StatusOK, Approvals{views})
}

// Approvals is a list of Approval.
type Approvals struct {
	Approvals []Approval `json:"approvals"`
}

// getApproval returns one request that waits, whole.
func (c *Console) getApproval(w http.ResponseWriter, r *http.Request, by event.Principal) error {
	p, err := c.Approvals.Get(r.PathValue("id"), by)
	if err != nil {
		return approvalError(err)
	}
	return writeJSON(w, http.StatusOK, c.approvalView(p, by, true))
}

// A Decision is what somebody decided about an approval.
type Decision struct {
	Decision string `json:"decision"` // "approve" or "deny"
	Comment  string `json:"comment"`
	Digest   string `json:"digest"` // as it was shown
}

// An Ending is how an approval ended.
type Ending struct {
	ID      string    `json:"id"`
	How     string    `json:"how"` // "approved", "denied", "expired", "withdrawn" or "outdated"; "ended" if that is forgotten
	By      string    `json:"by,omitempty"`
	Comment string    `json:"comment,omitempty"`
	At      time.Time `json:"at,omitzero"`
}

func endingView(e approval.Ending) Ending {
	return Ending{e.ID, string(e.How), label(e.Decision.By), e.Decision.Comment, e.At}
}

func (c *Console) decide(w http.ResponseWriter, r *http.Request, by event.Principal) error {
	var d Decision
	if err := readJSON(w, r, &d); err != nil {
		return err
	}
	if d.Decision != "approve" && d.Decision != "deny" {
		return &apiError{http.StatusBadRequest, "the decision is neither approve nor deny", "send one of the two"}
	}
	id := r.PathValue("id")
	p, err := c.Approvals.Get(id, by)
	if err != nil {
		return approvalError(err)
	}
	if d.Digest != hex.EncodeToString(p.Digest[:]) {
		return errOther
	}
	if err := c.Approvals.Decide(id, by, d.Decision == "approve", d.Comment); err != nil {
		return approvalError(err)
	}
	c.Log.Info("request decided", "approval", id, "decision", d.Decision, "session", p.Session.ID,
		"issuer", by.Issuer, "subject", by.Subject)
	how := approval.Denied
	if d.Decision == "approve" {
		how = approval.Approved
	}
	return writeJSON(w, http.StatusOK, Ending{ID: id, How: string(how), By: label(by), Comment: d.Comment, At: time.Now()})
}

var errOther = &apiError{http.StatusConflict, "what was shown to you is not what waits", "reload and read the request again"}

// approvalError says what to do about an error of the registry.
func approvalError(err error) error {
	status, next := 0, ""
	switch {
	case errors.Is(err, approval.ErrGone):
		status, next = http.StatusGone, "nothing is left to do; the client was told"
	case errors.Is(err, approval.ErrUnknown):
		status, next = http.StatusNotFound, "look at the list of what waits; it shows what your groups may decide"
	case errors.Is(err, approval.ErrOwn):
		status, next = http.StatusForbidden, "ask someone else of the groups that may decide it"
	case errors.Is(err, approval.ErrNotApprover):
		status, next = http.StatusForbidden, "ask someone of the groups that may decide it"
	case errors.Is(err, approval.ErrComment):
		status, next = http.StatusBadRequest, "shorten the comment, and leave out control characters"
	default:
		return err
	}
	return &apiError{status, err.Error(), next}
}
