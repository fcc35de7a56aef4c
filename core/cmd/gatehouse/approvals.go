package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/console"
	"gatehouse/core/cmd/gatehouse/config"
)

// A consoleFlags says how to reach a gate's console as whom.
type consoleFlags struct{ url, token, ca string }

func newApprovals() *cobra.Command {
	f := new(consoleFlags)
	c := &cobra.Command{
		Use:   "approvals",
		Short: "List and decide held requests",
		Long: `List and decide held requests, through a gate's console. Whoever decides shows an
identity token that the console accepts, given by reference: env:NAME or
file:PATH.`,
		Example: `  gatehouse approvals list --url https://gate.example.com --token file:token
  gatehouse approvals show K3QZ7M2A
  gatehouse approvals approve K3QZ7M2A --comment "agreed with Dana"`,
		Args: func(_ *cobra.Command, args []string) error { return unknownVerb(args) },
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	f.add(c)
	c.AddCommand(newApprovalsList(f), newApprovalsShow(f), newApprovalsDecide(f, true), newApprovalsDecide(f, false))
	return c
}

func (f *consoleFlags) add(c *cobra.Command) {
	c.PersistentFlags().StringVar(&f.url, "url", os.Getenv("GATEHOUSE_URL"), "`URL` of the console; GATEHOUSE_URL unless given")
	c.PersistentFlags().StringVar(&f.token, "token", "env:GATEHOUSE_TOKEN", "`reference` to an identity token")
	c.PersistentFlags().StringVar(&f.ca, "ca", "", "PEM `file` of certificates to trust for the console")
}

// client returns a client of the console.
func (f *consoleFlags) client() (*console.Client, error) {
	if f.url == "" {
		return nil, usage(advise(errors.New("no console is named"), "Name it with --url or GATEHOUSE_URL."))
	}
	u, err := url.Parse(f.url)
	if err != nil || u.Scheme != "https" && (u.Scheme != "http" || !config.Loopback(net.JoinHostPort(u.Hostname(), "0"))) {
		return nil, usage(advise(fmt.Errorf("%q is no URL of a console: https, or http to this host", f.url), "Name it as https://HOST: the token goes there."))
	}
	token, err := config.Secret(f.token).Read()
	if err != nil {
		return nil, usage(advise(fmt.Errorf("token: %w", err), "Refer to an identity token with --token env:NAME or --token file:PATH."))
	}
	transport, err := newTransport(f.ca)
	if err != nil {
		return nil, usage(err)
	}
	return &console.Client{
		URL: f.url, Token: strings.TrimSpace(string(token)),
		HTTP: &http.Client{Transport: transport, Timeout: 30 * time.Second},
	}, nil
}

func newApprovalsList(f *consoleFlags) *cobra.Command {
	c := &cobra.Command{
		Use:   "list",
		Short: "List the requests that wait for you",
		Example: `  gatehouse approvals list
  gatehouse approvals list --json`,
	}
	get := func(client *console.Client) ([]console.Approval, error) { return client.List(c.Context()) }
	lists(c, f, get, writeApprovals)
	return c
}

// lists makes c a command that gets a list from the console, and writes it as a
// table or, with --json, as lines of JSON.
func lists[T any](c *cobra.Command, f *consoleFlags, get func(*console.Client) ([]T, error), writeTable func(io.Writer, []T) error) {
	asJSON := c.Flags().Bool("json", false, "one JSON object a line")
	c.Args = arguments()
	c.RunE = func(*cobra.Command, []string) error {
		client, err := f.client()
		if err != nil {
			return err
		}
		list, err := get(client)
		if err != nil {
			return err
		}
		if *asJSON {
			return writeJSONLines(c.OutOrStdout(), list)
		}
		return writeTable(c.OutOrStdout(), list)
	}
}

func writeJSONLines[T any](w io.Writer, values []T) error {
	e := json.NewEncoder(w)
	for _, v := range values {
		if err := e.Encode(v); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

func writeApprovals(w io.Writer, list []console.Approval) error {
	if len(list) == 0 {
		_, err := fmt.Fprintln(w, "Nothing waits for you.")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tLEFT\tWHO\tRESOURCE\tREASON\tREQUEST")
	for _, a := range list {
		left := (time.Duration(a.Remaining) * time.Millisecond).Round(time.Second)
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", a.ID, left, oneLine(cmp.Or(a.Principal.Name, a.Principal.Subject)), oneLine(a.Resource),
			oneLine(a.Reason), shorten(oneLine(wholeText(&a.Statement)), 80))
	}
	return t.Flush()
}

func newApprovalsDecide(f *consoleFlags, approve bool) *cobra.Command {
	verb, did := "deny", "Denied"
	if approve {
		verb, did = "approve", "Approved"
	}
	var comment string
	c := &cobra.Command{
		Use:     verb + " ID",
		Short:   strings.ToUpper(verb[:1]) + verb[1:] + " a request after showing it",
		Example: fmt.Sprintf("  gatehouse approvals %s K3QZ7M2A --comment \"agreed with Dana\"", verb),
		Args:    arguments("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := f.client()
			if err != nil {
				return err
			}
			return decide(c.Context(), c.OutOrStdout(), client, args[0], approve, did, comment)
		},
	}
	c.Flags().StringVar(&comment, "comment", "", "what the client and the recording get to read")
	return c
}

func newApprovalsShow(f *consoleFlags) *cobra.Command {
	var reveal bool
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Show a request, with what is masked in it if you may see that",
		Example: `  gatehouse approvals show K3QZ7M2A
  gatehouse approvals show K3QZ7M2A --reveal`,
		Args: arguments("ID"),
		RunE: func(c *cobra.Command, args []string) error {
			client, err := f.client()
			if err != nil {
				return err
			}
			a, err := client.Get(c.Context(), args[0])
			if err != nil {
				return err
			}
			if reveal {
				v, err := client.Reveal(c.Context(), a)
				if err != nil {
					return err
				}
				a.Statement, a.Params, a.Masked = v.Statement, v.Params, nil
			}
			return writeApproval(c.OutOrStdout(), &a)
		},
	}
	c.Flags().BoolVar(&reveal, "reveal", false, "show masked values, which is recorded")
	return c
}

// writeApproval shows a request.
func writeApproval(w io.Writer, a *console.Approval) error {
	fmt.Fprintf(w, "%s (%s at %s) asks on %s:\n%s\n", oneLine(cmp.Or(a.Principal.Name, a.Principal.Subject)), oneLine(a.Principal.Subject), oneLine(a.Principal.Issuer),
		oneLine(a.Resource), indented(wholeText(&a.Statement)))
	for i, p := range a.Params {
		value := "NULL"
		if p != nil {
			value = strconv.Quote(wholeText(p))
		}
		fmt.Fprintf(w, "  $%d = %s\n", i+1, value)
	}
	if len(a.Masked) > 0 {
		fmt.Fprintf(w, "Masked: values of %s\n", oneLine(strings.Join(a.Masked, ", ")))
	}
	for _, l := range a.Labels {
		fmt.Fprintf(w, "  label %s\n", oneLine(l.Key+" = "+l.Value))
	}
	for _, c := range a.Attrs {
		fmt.Fprintf(w, "  context %s\n", oneLine(c.Key+" = "+c.Value))
	}
	_, err := fmt.Fprintf(w, "Held because: %s\n", oneLine(a.Reason))
	return err
}

// decide shows a request and decides it. What was shown is what is decided.
func decide(ctx context.Context, w io.Writer, client *console.Client, id string, approve bool, did, comment string) error {
	a, err := client.Get(ctx, id)
	if err != nil {
		return err
	}
	if err := writeApproval(w, &a); err != nil {
		return err
	}
	if _, err := client.Decide(ctx, a, approve, comment); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s.\n", did)
	return err
}

// wholeText returns t, with a remark where its middle is left out.
func wholeText(t *console.Text) string {
	if t.Hidden == 0 {
		return t.Head
	}
	return fmt.Sprintf("%s\n[%d bytes are not shown]\n%s", t.Head, t.Hidden, t.Tail)
}
