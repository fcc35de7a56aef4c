package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// maxAnswer is how many bytes of a response a Client reads.
const maxAnswer = 64 << 20

// A Client decides requests from a program. Its methods are safe for
// concurrent use.
type Client struct {
	URL   string       // of the console: "https://gate.example.com"
	Token string       // who asks
	HTTP  *http.Client // http.DefaultClient unless set
}

// A ClientError is what a console refused. Detail says what to do next.
type ClientError struct{ Problem }

// Error says what went wrong and what to do next.
func (e *ClientError) Error() string { return e.Title + ": " + e.Detail }

// List returns what waits and the client's bearer may see, oldest first. Long
// statements are shortened; Get returns them whole.
func (c *Client) List(ctx context.Context) ([]Approval, error) {
	var list Approvals
	err := c.do(ctx, http.MethodGet, "/api/approvals", nil, &list)
	return list.Approvals, err
}

// Get returns one request that waits.
func (c *Client) Get(ctx context.Context, id string) (Approval, error) {
	var a Approval
	err := c.do(ctx, http.MethodGet, "/api/approvals/"+url.PathEscape(id), nil, &a)
	return a, err
}

// Reveal returns what is masked in the request that was shown as a, if the
// client's bearer may see it. That is recorded.
func (c *Client) Reveal(ctx context.Context, a Approval) (Revealed, error) {
	var v Revealed
	err := c.do(ctx, http.MethodPost, "/api/approvals/"+url.PathEscape(a.ID)+"/reveal", Reveal{a.Digest}, &v)
	return v, err
}

// Decide approves or denies the request that was shown as a.
func (c *Client) Decide(ctx context.Context, a Approval, approve bool, comment string) (Ending, error) {
	d := Decision{Decision: "deny", Comment: comment, Digest: a.Digest}
	if approve {
		d.Decision = "approve"
	}
	var e Ending
	err := c.do(ctx, http.MethodPost, "/api/approvals/"+url.PathEscape(a.ID), d, &e)
	return e, err
}

// do sends in as JSON, unless it is nil, and reads the answer into out.
func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+path, body)
	if err != nil {
		return fmt.Errorf("ask the console: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.Token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(RequestHeader, "1")
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask the console: %w", err)
	}
	defer res.Body.Close()
	answer := json.NewDecoder(io.LimitReader(res.Body, maxAnswer))
	if res.StatusCode != http.StatusOK {
		var p Problem
		if err := answer.Decode(&p); err != nil || p.Title == "" {
			return fmt.Errorf("ask the console: %s", res.Status)
		}
		return &ClientError{p}
	}
	if err := answer.Decode(out); err != nil {
		return fmt.Errorf("read the console's answer: %w", err)
	}
	return nil
}
