package console

import (
	"encoding/hex"
	"net/http"

	"gatehouse/core/approval"
	"gatehouse/core/event"
)

// A Reveal asks for what is masked in an approval.
type Reveal struct {
	Digest string `json:"digest"` // as it was shown
}

// Revealed is what is masked in an approval, as the server gets it.
type Revealed struct {
	Statement Text    `json:"statement"`
	Params    []*Text `json:"params"`
}

// mayReveal is whether by may see what is masked in p: by may decide it, and the
// policy protects none of the columns concerned from by.
func (c *Console) mayReveal(p *event.Pending, by event.Principal) bool {
	if p.Reveal == nil || c.Protected == nil || approval.MayDecide(p, by) != nil {
		return false
	}
	protected, err := c.Protected(by, p.Session)
	if err != nil {
		return false
	}
	for _, column := range p.Request.Masked {
		if _, is := protected.Overlap(column); is {
			return false
		}
	}
	return true
}

// reveal returns what is masked in a request that waits. That it was revealed is
// recorded first.
func (c *Console) reveal(w http.ResponseWriter, r *http.Request, by event.Principal) error {
	var asked Reveal
	if err := readJSON(w, r, &asked); err != nil {
		return err
	}
	p, err := c.Approvals.Get(r.PathValue("id"), by)
	if err != nil {
		return approvalError(err)
	}
	if err := approval.MayDecide(p, by); err != nil {
		return approvalError(err)
	}
	if asked.Digest != hex.EncodeToString(p.Digest[:]) {
		return errOther
	}
	if !c.mayReveal(p, by) {
		return &apiError{http.StatusForbidden, "you may not see the masked values", "ask whoever runs the gate to clear you for their columns, or someone who is"}
	}
	sent, err := p.Reveal(r.Context(), by)
	if err != nil {
		c.Log.Warn("values were not revealed", "approval", p.ID, "session", p.Session.ID, "issuer", by.Issuer, "subject", by.Subject, "error", err)
		return &apiError{http.StatusConflict, "the values cannot be revealed", "reload: the request may have ended; else the gate's log says why"}
	}
	c.Log.Info("values revealed", "approval", p.ID, "session", p.Session.ID, "issuer", by.Issuer, "subject", by.Subject)
	v := Revealed{Statement: text(sent.Payload, wholeHead, wholeTail), Params: []*Text{}}
	for i, value := range sent.Params {
		if value == nil {
			v.Params = append(v.Params, nil)
			continue
		}
		t := text(value, wholeHead, wholeTail)
		t.cut(p.Request.CutSize(i))
		v.Params = append(v.Params, &t)
	}
	return writeJSON(w, http.StatusOK, v)
}
