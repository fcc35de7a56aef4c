package postgres

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgproto3/v2"
)

// Request codes in the place of a protocol version.
const (
	codeCancelRequest = 80877102
	codeSSLRequest    = 80877103
	codeGSSENCRequest = 80877104
)

// PostgreSQL's own cap on a start-up packet, and ours on a token.
const (
	maxStartup  = 10_000
	maxPassword = 64 << 10
)

// errCancelRequest ends a connection that was only there to cancel.
var errCancelRequest = errors.New("cancel request")

// A startup is what a client said of itself before it was trusted.
type startup struct {
	conn     net.Conn // with TLS where it was agreed
	reader   *reader  // of what follows the StartupMessage
	user     string
	resource string
	database string // empty: the resource's own
	params   map[string]string
	minor    uint16   // the minor protocol version that it asked for
	unknown  []string // protocol options that it asked for
	// certificate is the subject of the client's certificate, which TLS has
	// verified, or empty.
	certificate string
}

// latestMinor is the newest minor version of the protocol that the gate speaks.
// 3.1 was never one.
const latestMinor = 2

// spoken returns the minor version that both sides speak.
func (st *startup) spoken() uint16 {
	if st.minor >= latestMinor {
		return latestMinor
	}
	return 0
}

// secretLength returns how long the secret of a cancel key may be.
func (st *startup) secretLength() int {
	if st.spoken() >= 2 {
		return longSecret
	}
	return shortSecret
}

// allowedParams are the start-up parameters that go to the server. All others
// could change what a statement means or does.
var allowedParams = map[string]bool{
	"application_name":                    true,
	"client_encoding":                     true, // UTF8 only
	"client_min_messages":                 true, // of the server: the gate's own notices come at any level
	"datestyle":                           true,
	"extra_float_digits":                  true,
	"intervalstyle":                       true,
	"timezone":                            true,
	"search_path":                         true,
	"statement_timeout":                   true,
	"lock_timeout":                        true,
	"idle_in_transaction_session_timeout": true,
}

// negotiate reads a client's packets up to its StartupMessage. It answers
// SSLRequest and GSSENCRequest, each at most once, and carries out a
// CancelRequest, which it reports as errCancelRequest.
func (p *Protocol) negotiate(ctx context.Context, conn net.Conn) (*startup, error) {
	st := &startup{conn: conn}
	encrypted, err := p.directTLS(ctx, st)
	if err != nil {
		return st, err
	}
	var askedTLS, askedGSS bool
	for {
		packet, rest, err := readStartup(st.conn)
		if err != nil {
			return st, err
		}
		code := binary.BigEndian.Uint32(packet)
		if len(rest) > 0 && code>>16 != 3 {
			// CVE-2021-23214: what was sent before the answer is never parsed.
			return st, violated("%d bytes sent before request %d was answered", len(rest), code)
		}
		switch {
		case code == codeSSLRequest && !askedTLS && !encrypted && len(packet) == 4:
			askedTLS = true
			if encrypted, err = p.answerTLS(ctx, st); err != nil {
				return st, err
			}
		case code == codeGSSENCRequest && !askedGSS && !encrypted && len(packet) == 4:
			askedGSS = true
			if _, err := st.conn.Write([]byte{'N'}); err != nil {
				return st, fmt.Errorf("decline GSS encryption: %w", err)
			}
		case code == codeCancelRequest && len(packet) >= 8+shortSecret && len(packet) <= 8+maxSecret:
			p.cancel(conn.RemoteAddr(), cancelKey{binary.BigEndian.Uint32(packet[4:]), string(packet[8:])})
			return st, errCancelRequest
		case code>>16 == 3:
			if !encrypted && !p.plaintextAllowed(conn) {
				return st, &endError{refusal{code: codeUnauthenticated,
					message: "gatehouse: this gate requires TLS",
					hint:    "Connect with sslmode=require, or better verify-full."}, nil}
			}
			st.reader = newReader(st.conn, maxPassword)
			st.reader.w = copy(st.reader.buf, rest)
			return st, st.parse(packet)
		default:
			return st, violated("unexpected start-up packet %d", code)
		}
	}
}

// plaintextAllowed is whether a client may go on without TLS: only where the
// configuration says so, and only from this machine.
func (p *Protocol) plaintextAllowed(conn net.Conn) bool {
	if !p.config.Plaintext {
		return false
	}
	local, ok := conn.LocalAddr().(*net.TCPAddr)
	return !ok || local.IP.IsLoopback()
}

// alpn is the protocol's name in TLS.
const alpn = "postgresql"

// directTLS shakes hands with a client that begins with TLS, without asking
// first. Such a client must name the protocol, so that nothing that was meant
// for another server is read (see "SSL Session Encryption" in PostgreSQL's
// documentation).
func (p *Protocol) directTLS(ctx context.Context, st *startup) (bool, error) {
	first := make([]byte, 1)
	if _, err := io.ReadFull(st.conn, first); err != nil {
		return false, fmt.Errorf("read start-up packet: %w", err)
	}
	const handshake = 0x16 // TLS's content type; a start-up packet begins with 0
	st.conn = &begun{st.conn, first}
	if first[0] != handshake {
		return false, nil
	}
	if p.config.TLS == nil {
		return false, errors.New("a client began with TLS, which is not configured")
	}
	if err := p.shake(ctx, st); err != nil {
		return false, err
	}
	if name := st.conn.(*tls.Conn).ConnectionState().NegotiatedProtocol; name != alpn {
		return true, violated("direct TLS without ALPN %q", alpn)
	}
	return true, nil
}

// A begun connection reads first what was already read.
type begun struct {
	net.Conn
	first []byte
}

// NetConn returns the connection below.
func (c *begun) NetConn() net.Conn { return c.Conn }

func (c *begun) Read(b []byte) (int, error) {
	if len(c.first) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.first)
	c.first = c.first[n:]
	return n, nil
}

// answerTLS answers an SSLRequest and, where TLS is configured, shakes hands.
func (p *Protocol) answerTLS(ctx context.Context, st *startup) (bool, error) {
	if p.config.TLS == nil {
		_, err := st.conn.Write([]byte{'N'})
		return false, err
	}
	if _, err := st.conn.Write([]byte{'S'}); err != nil {
		return false, fmt.Errorf("accept TLS: %w", err)
	}
	return true, p.shake(ctx, st)
}

// shake makes st's connection one with TLS.
func (p *Protocol) shake(ctx context.Context, st *startup) error {
	conn := tls.Server(st.conn, p.config.TLS)
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	st.conn = conn
	if chain := conn.ConnectionState().PeerCertificates; len(chain) > 0 {
		st.certificate = chain[0].Subject.String()
	}
	return nil
}

// readStartup reads one packet, which has no type, and returns its body. What
// came with it is rest, which is at most minBuffer.
func readStartup(conn net.Conn) (packet, rest []byte, err error) {
	var buf [maxStartup + minBuffer]byte
	n := 0
	for {
		// Never more than a packet and a bufferful, wherever it began.
		k, err := conn.Read(buf[n:max(n+1, minBuffer)])
		n += k
		if n >= 4 {
			size := int64(binary.BigEndian.Uint32(buf[:]))
			if size < 8 || size > maxStartup {
				return nil, nil, violated("start-up packet of %d bytes", size)
			}
			if n >= int(size) {
				all := bytes.Clone(buf[4:n])
				return all[:size-4], all[size-4:], nil
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) && n > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, nil, fmt.Errorf("read start-up packet: %w", err)
		}
	}
}

// parse reads a StartupMessage.
func (st *startup) parse(packet []byte) error {
	st.minor = binary.BigEndian.Uint16(packet[2:])
	st.params = make(map[string]string)
	c := cursor{b: packet[4:]}
	keys := make(map[string]bool)
	var database string
	for {
		key := string(c.cstring())
		if key == "" {
			break
		}
		value, name := string(c.cstring()), strings.ToLower(key)
		// Drivers give a setting once more as another layer of theirs spells
		// it: TimeZone and timezone. It must not say anything else then.
		if before, again := st.params[name]; keys[key] || again && before != value {
			return violated("start-up parameter %q is given twice", key)
		}
		keys[key], st.params[name] = true, value
		switch {
		case name == "user":
			st.user = value
		case name == "database":
			database = value
		case strings.HasPrefix(name, "_pq_."):
			st.unknown = append(st.unknown, key)
			delete(st.params, name)
		case name == "replication":
			return refuseStartup("replication connections are refused", "")
		case name == "client_encoding" && !isUTF8(value):
			return refuseStartup(fmt.Sprintf("client_encoding %q is refused", value), "Use UTF8.")
		case !allowedParams[name]:
			return refuseStartup(fmt.Sprintf("start-up parameter %q is refused", key),
				"Remove it from the connection's options; after connecting, SET is subject to policy.")
		}
	}
	if !c.done() {
		return violated("malformed start-up packet")
	}
	if st.user == "" {
		return refuseStartup("no user name is given", "")
	}
	delete(st.params, "user")
	delete(st.params, "database")
	if database == "" {
		database = st.user
	}
	st.resource, st.database, _ = strings.Cut(database, "/")
	return nil
}

func refuseStartup(message, hint string) error {
	return &endError{refusal{code: codeUnauthenticated, message: "gatehouse: " + message, hint: hint}, nil}
}

// separators are what names of encodings may be spelt with.
var separators = strings.NewReplacer("-", "", "_", "")

func isUTF8(encoding string) bool {
	switch strings.ToUpper(separators.Replace(encoding)) {
	case "UTF8", "UNICODE":
		return true
	}
	return false
}

// askToken asks for the password, which is the client's identity token. A
// client that asked for a newer protocol, or for options, is told first what
// it gets.
func (st *startup) askToken() (string, error) {
	var b []byte
	if st.minor != st.spoken() || len(st.unknown) > 0 {
		b = appendFrame(b, 'v', func(b []byte) []byte { // NegotiateProtocolVersion
			b = binary.BigEndian.AppendUint32(b, 3<<16|uint32(st.spoken()))
			b = binary.BigEndian.AppendUint32(b, uint32(len(st.unknown)))
			for _, o := range st.unknown {
				b = append(append(b, o...), 0)
			}
			return b
		})
	}
	b, err := (&pgproto3.AuthenticationCleartextPassword{}).Encode(b)
	if err != nil {
		return "", fmt.Errorf("encode password request: %w", err)
	}
	if _, err := st.conn.Write(b); err != nil {
		return "", fmt.Errorf("ask for the token: %w", err)
	}
	f, err := st.reader.next()
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	if f[0] != 'p' {
		return "", violated("message %q in place of a password", f[0])
	}
	token, err := text(f[frameHeader:])
	return string(token), err
}
