package postgres

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"gatehouse/core/poll"
)

// An unwantedError says that a server is not of the kind that
// target_session_attrs asks for.
type unwantedError struct {
	attrs string
	err   error
}

func (e *unwantedError) Error() string { return "the server is not " + e.attrs + ": " + e.err.Error() }
func (e *unwantedError) Unwrap() error { return e.err }

// wanted are the kinds of server to look for, the best first.
func (r *Resource) wanted() []pgconn.ValidateConnectFunc {
	check := func(attrs string, f pgconn.ValidateConnectFunc) pgconn.ValidateConnectFunc {
		return func(ctx context.Context, c *pgconn.PgConn) error {
			if err := f(ctx, c); err != nil {
				return &unwantedError{attrs, err}
			}
			return nil
		}
	}
	switch attrs := r.TargetSessionAttrs; attrs {
	case "read-write":
		return []pgconn.ValidateConnectFunc{check(attrs, pgconn.ValidateConnectTargetSessionAttrsReadWrite)}
	case "read-only":
		return []pgconn.ValidateConnectFunc{check(attrs, pgconn.ValidateConnectTargetSessionAttrsReadOnly)}
	case "primary":
		return []pgconn.ValidateConnectFunc{check(attrs, pgconn.ValidateConnectTargetSessionAttrsPrimary)}
	case "standby":
		return []pgconn.ValidateConnectFunc{check(attrs, pgconn.ValidateConnectTargetSessionAttrsStandby)}
	case "prefer-standby":
		return []pgconn.ValidateConnectFunc{check("standby", pgconn.ValidateConnectTargetSessionAttrsStandby), nil}
	}
	return []pgconn.ValidateConnectFunc{nil}
}

// dial opens a connection to the first of the resource's servers that answers and
// is of the wanted kind, and logs in. It calls failed for every one that did not
// do. Poller, unless it is nil, waits for the connection. The error names all of
// them: it is for the log, not for clients.
func (r *Resource) dial(ctx context.Context, database string, params map[string]string, poller *poll.Poller, failed func(Address, error)) (*upstream, error) {
	var errs []error
	for _, want := range r.wanted() {
		for _, a := range r.addresses() {
			u, err := r.dialOne(ctx, a, want, database, params, poller)
			if err == nil {
				return u, nil
			}
			failed(a, err)
			errs = append(errs, fmt.Errorf("%s: %w", a, err))
			if ctx.Err() != nil || holdsForAll(err) {
				return nil, fmt.Errorf("connect to resource %s: %w", r.Name, errors.Join(errs...))
			}
		}
	}
	return nil, fmt.Errorf("connect to resource %s: %w", r.Name, errors.Join(errs...))
}

// holdsForAll is whether the other servers would say the same: of who logs in,
// and of what they want to open.
func holdsForAll(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (strings.HasPrefix(e.Code, "28") || e.Code == "3D000" || e.Code == codeAccessDenied)
}

// Why a server did not do.
const (
	failedTimeout        = "timeout"
	failedNetwork        = "network"
	failedTLS            = "tls"
	failedAuthentication = "authentication"
	failedAttributes     = "attributes" // not of the kind that target_session_attrs asks for
	failedServer         = "server"     // another error of the server's: starting up, too many clients
)

// failure returns why a server did not do.
func failureReason(err error) string {
	var invalid *tls.CertificateVerificationError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var record tls.RecordHeaderError
	var unwanted *unwantedError
	var server *pgconn.PgError
	switch {
	case errors.As(err, &unwanted):
		return failedAttributes
	case errors.As(err, &server) && strings.HasPrefix(server.Code, "28"):
		return failedAuthentication
	case errors.As(err, &server):
		return failedServer
	case errors.As(err, &invalid) || errors.As(err, &unknown) || errors.As(err, &name) || errors.As(err, &record):
		return failedTLS
	case errors.Is(err, context.DeadlineExceeded) || isTimeout(err):
		return failedTimeout
	}
	return failedNetwork
}

// A ServerFailure counts connections to one server of a resource that could not
// be opened, for one reason.
type ServerFailure struct {
	Resource string
	Server   Address
	Reason   string
	Count    uint64
}

// maxFailures bounds the servers and reasons that are told apart: resources can
// change while the gate runs.
const maxFailures = 1000

// A failureCount counts what could not be opened. It is safe for concurrent
// use.
type failureCount struct {
	mu sync.Mutex
	m  map[ServerFailure]uint64 // keys without Count
}

func (c *failureCount) add(f ServerFailure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || len(c.m) >= maxFailures {
		c.m = make(map[ServerFailure]uint64)
	}
	c.m[f]++
}

// Failures returns how often servers could not be reached or did not do.
func (p *Protocol) Failures() []ServerFailure {
	c := &p.failures
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]ServerFailure, 0, len(c.m))
	for f, n := range c.m {
		f.Count = n
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b ServerFailure) int {
		return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Server.String(), b.Server.String()), cmp.Compare(a.Reason, b.Reason))
	})
	return all
}

// connect opens s's server and takes note of those that did not do.
func (s *session) connect(ctx context.Context, params map[string]string) (*upstream, error) {
	r := s.resource
	return r.dial(ctx, s.database, params, s.env.Poller, func(a Address, err error) {
		reason := failureReason(err)
		s.protocol.failures.add(ServerFailure{Resource: r.Name, Server: a, Reason: reason})
		s.env.Log.Warn("server cannot be used", append(s.logAttrs(), "server", a.String(), "reason", reason, "error", err)...)
	})
}
