package postgres

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgproto3/v2"
	"github.com/jackc/pgx/v5/pgconn"
	pgproto "github.com/jackc/pgx/v5/pgproto3"

	"gatehouse/core/poll"
)

// DefaultConnectTimeout bounds opening a connection to one server.
const DefaultConnectTimeout = 10 * time.Second

// A Resource is a PostgreSQL server that the gate fronts, or several that stand
// in for each other, with the credential that only the gate knows.
type Resource struct {
	Name        string
	Host        string // a name, an address, or the directory of a Unix socket
	Port        uint16 // 5432 when zero
	User        string
	Password    string
	Database    string
	Databases   []string // further ones that clients may ask for; "*" is all
	SSLMode     string   // as libpq: disable, allow, prefer, require, verify-ca, verify-full
	SSLRootCert string   // file with the authorities for verify-ca and verify-full, read at each connection
	// NoSuperuser is whether a session ends before it begins where the user is
	// a superuser: no privilege of the server's would hold then.
	NoSuperuser bool
	// FunctionCalls are the OIDs of functions that clients may call by the
	// fast path.
	FunctionCalls []uint32

	// Fallbacks are tried in order after Host.
	Fallbacks []Address
	// TargetSessionAttrs says which of the servers will do, as libpq: any,
	// read-write, read-only, primary, standby, prefer-standby.
	TargetSessionAttrs string
	// ConnectTimeout bounds opening a connection to one of the servers. Zero
	// means the default.
	ConnectTimeout time.Duration
	// ChannelBinding is whether the log-in is bound to the server's
	// certificate (SCRAM-SHA-256-PLUS), as libpq: prefer, require, disable.
	ChannelBinding string

	// Tracked is the file that says which columns hold values of protected ones
	// because statements stored them there. The gate alone writes it. Without
	// one such statements are refused.
	Tracked string

	taints   *taints         // of Tracked; nil: none
	dialFunc pgconn.DialFunc // nil: over the network
	lease
}

// An Address is where a server listens.
type Address struct {
	Host string
	Port uint16 // 5432 when zero
}

// String returns host:port.
func (a Address) String() string { return net.JoinHostPort(a.Host, strconv.Itoa(int(a.Port))) }

// addresses are those of all servers, in the order in which they are tried.
func (r *Resource) addresses() []Address {
	all := append([]Address{{r.Host, r.Port}}, r.Fallbacks...)
	for i := range all {
		setDefault(&all[i].Port, 5432)
	}
	return all
}

// settings are all that a connection depends on.
func (r *Resource) settings() any {
	return []any{r.Name, r.Host, r.Port, r.User, r.Password, r.Database, r.Databases, r.SSLMode, r.SSLRootCert,
		r.Fallbacks, r.TargetSessionAttrs, r.ConnectTimeout, r.ChannelBinding, r.FunctionCalls, r.NoSuperuser, r.Tracked}
}

// What libpq knows for settings of the same names.
var (
	sslModes        = []string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}
	sessionAttrs    = []string{"any", "read-write", "read-only", "primary", "standby", "prefer-standby"}
	channelBindings = []string{"disable", "prefer", "require"}
)

// Validate names what is missing or wrong.
func (r *Resource) Validate() error {
	var errs []error
	for _, f := range []struct{ name, value string }{{"host", r.Host}, {"user", r.User}, {"database", r.Database}} {
		if f.value == "" {
			errs = append(errs, fmt.Errorf("%s: is required", f.name))
		}
	}
	for _, f := range []struct {
		name, value string
		known       []string
	}{{"sslmode", r.SSLMode, sslModes}, {"target_session_attrs", r.TargetSessionAttrs, sessionAttrs}, {"channel_binding", r.ChannelBinding, channelBindings}} {
		if f.value != "" && !slices.Contains(f.known, f.value) {
			errs = append(errs, fmt.Errorf("%s: %q is none of %s", f.name, f.value, strings.Join(f.known, ", ")))
		}
	}
	if slices.ContainsFunc(r.Fallbacks, func(a Address) bool { return a.Host == "" }) {
		errs = append(errs, errors.New("fallbacks: one has no host"))
	}
	if r.ConnectTimeout < 0 {
		errs = append(errs, fmt.Errorf("connect_timeout: %s is negative", r.ConnectTimeout))
	}
	if strings.HasPrefix(r.SSLMode, "verify-") && r.SSLRootCert != "" {
		pem, err := os.ReadFile(r.SSLRootCert)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
			err = errors.New("holds no certificate")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("sslrootcert: %w", err))
		}
	}
	return errors.Join(errs...)
}

// choose returns the database to open for a client that asked for one.
func (r *Resource) choose(asked string) (string, error) {
	if asked == "" || asked == r.Database || slices.Contains(r.Databases, asked) || slices.Contains(r.Databases, "*") {
		if asked == "" {
			asked = r.Database
		}
		return asked, nil
	}
	return "", &endError{refusal{code: codeUnauthenticated,
		message: fmt.Sprintf("gatehouse: database %q is not open to clients of resource %q", asked, r.Name)}, nil}
}

// quote quotes a value of a connection string.
func quote(v string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v) + "'"
}

// connString gives every setting that the library would otherwise take from
// the environment.
func (r *Resource) connString(a Address, database string) string {
	return "host=" + quote(a.Host) + " port=" + strconv.Itoa(int(a.Port)) + " user=" + quote(r.User) +
		" password=" + quote(r.Password) + " dbname=" + quote(database) + " sslmode=" + cmp.Or(r.SSLMode, "prefer") +
		" sslrootcert=" + quote(r.SSLRootCert) + " sslcert='' sslkey='' passfile=''" +
		" target_session_attrs=any channel_binding=" + cmp.Or(r.ChannelBinding, "prefer") +
		" connect_timeout=" + strconv.Itoa(int(DefaultConnectTimeout/time.Second))
}

// connConfig returns how to connect to one server.
func (r *Resource) connConfig(a Address, database string, params map[string]string) (*pgconn.Config, error) {
	c, err := pgconn.ParseConfig(r.connString(a, database))
	if err != nil {
		return nil, errors.New("the resource's settings make no valid connection") // err quotes them
	}
	c.RuntimeParams = params
	c.MaxProtocolVersion = "3.2"  // longer cancel keys, where the server has them
	if c.Password != r.Password { // an empty one is looked up elsewhere
		c.Password = r.Password
	}
	c.ConnectTimeout = cmp.Or(r.ConnectTimeout, DefaultConnectTimeout)
	if r.dialFunc != nil {
		c.DialFunc = r.dialFunc
	}
	if !r.trusted() {
		c.RequireAuth = "!password"
	}
	c.BuildFrontend = func(src io.Reader, w io.Writer) *pgproto.Frontend {
		f := pgproto.NewFrontend(src, w)
		f.SetMaxBodyLen(maxCatalogMessage)
		return f
	}
	return c, nil
}

// trusted is whether what the gate sends can only be read by the resource
// itself, so that a server may ask for the password in clear text: it runs on
// this machine, or TLS verifies it. Any other could be somebody in between.
func (r *Resource) trusted() bool {
	ip := net.ParseIP(r.Host)
	return strings.HasPrefix(r.Host, "/") || r.Host == "localhost" || ip != nil && ip.IsLoopback() ||
		strings.HasPrefix(r.SSLMode, "verify-")
}

// What a server may say before a session is open, in all, and in one message of
// an answer to the gate's own questions.
const (
	maxGreeting       = 1 << 20
	maxCatalogMessage = 16 << 20
)

// A boundedReader fails once n bytes were read.
type boundedReader struct {
	io.Reader
	n int
}

func (r *boundedReader) Read(b []byte) (int, error) {
	if r.n <= 0 {
		return 0, errors.New("the server says too much before the session is open")
	}
	n, err := r.Reader.Read(b[:min(len(b), r.n)])
	r.n -= n
	return n, err
}

// An upstream is an authenticated connection to a server.
type upstream struct {
	conn      net.Conn
	address   Address
	pid       uint32
	params    map[string]string // as the server reported them
	canceller *pgconn.PgConn
}

// dialOne opens a connection to one server and logs in.
func (r *Resource) dialOne(ctx context.Context, a Address, want pgconn.ValidateConnectFunc, database string, params map[string]string, poller *poll.Poller) (*upstream, error) {
	c, err := r.connConfig(a, database, params)
	if err != nil {
		return nil, err
	}
	if poller != nil && r.dialFunc == nil {
		dial := c.DialFunc
		c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return poller.Take(conn)
		}
	}
	c.BuildFrontend = func(src io.Reader, w io.Writer) *pgproto.Frontend {
		f := pgproto.NewFrontend(&boundedReader{src, maxGreeting}, w)
		f.SetMaxBodyLen(maxPassword)
		return f
	}
	ctx, cancel := context.WithTimeout(ctx, c.ConnectTimeout)
	defer cancel()
	c.ValidateConnect = want
	pg, err := pgconn.ConnectConfig(ctx, c)
	if err != nil {
		return nil, err
	}
	// Under load the library may still be reading in the background.
	if err := pg.SyncConn(ctx); err != nil {
		return nil, errors.Join(err, pg.Close(ctx))
	}
	h, err := pg.Hijack()
	if err != nil {
		return nil, errors.Join(err, pg.Close(ctx))
	}
	u := &upstream{conn: h.Conn, address: a, pid: h.PID, params: h.ParameterStatuses}
	if h.TxStatus != 'I' {
		u.conn.Close()
		return nil, errors.New("the session does not begin idle")
	}
	if u.canceller, err = pgconn.Construct(h); err != nil {
		u.conn.Close()
		return nil, err
	}
	return u, nil
}

// closeWrite ends what goes to the server. Where that cannot be done alone, it
// ends the connection.
func (u *upstream) closeWrite() error {
	if c, ok := u.conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return u.conn.Close()
}

// cancel asks the server to cancel what the connection is doing.
func (u *upstream) cancel(ctx context.Context) error {
	return u.canceller.CancelRequest(ctx)
}

// greeting is what a client gets once its session is open.
func (u *upstream) greeting(k cancelKey) ([]byte, error) {
	b, err := (&pgproto3.AuthenticationOk{}).Encode(nil)
	names := make([]string, 0, len(u.params))
	for name := range u.params {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err == nil {
			b, err = (&pgproto3.ParameterStatus{Name: name, Value: u.params[name]}).Encode(b)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("encode greeting: %w", err)
	}
	b = appendFrame(b, 'K', func(b []byte) []byte {
		return append(binary.BigEndian.AppendUint32(b, k.pid), k.secret...)
	})
	return append(b, 'Z', 0, 0, 0, 5, 'I'), nil
}

// Check logs in to the resource as a session would and looks at what the gate
// relies on.
func (r *Resource) Check(ctx context.Context) error {
	u, err := r.dial(ctx, r.Database, nil, nil, func(Address, error) {})
	if err != nil {
		return err
	}
	defer u.conn.Close()
	if err := checkParams(u.params); err != nil {
		return err
	}
	_, err = u.conn.Write([]byte{'X', 0, 0, 0, 4})
	return err
}

// paramReadOnly is reported by servers from version 14 on.
const paramReadOnly = "default_transaction_read_only"

// checkParams refuses a server or session that would read a statement
// differently from the gate.
func checkParams(params map[string]string) error {
	for name, value := range params {
		if err := checkParam(name, value); err != nil {
			return err
		}
	}
	return nil
}

func checkParam(name, value string) error {
	switch {
	case name == "standard_conforming_strings" && value != "on":
		return errors.New("standard_conforming_strings is not on")
	case name == "client_encoding" && value != "UTF8":
		return fmt.Errorf("client_encoding is %q, not UTF8", value)
	}
	return nil
}

// checkRole refuses a superuser where the resource may have none. The server
// reports it at the log-in, and when a session changes its role.
func (r *Resource) checkRole(name, value string) error {
	if name == "is_superuser" && value == "on" && r.NoSuperuser {
		return errors.New("the resource's account is a superuser, or became one")
	}
	return nil
}
