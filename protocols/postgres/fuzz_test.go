package postgres

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/iotest"
	"time"

	"github.com/jackc/pgproto3/v2"

	"gatehouse/core/event"
	"gatehouse/core/proxy"
	"gatehouse/recorder"
)

func FuzzBind(f *testing.F) {
	f.Add([]byte("portal\x00stmt\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01x\x00\x01\x00\x01"))
	f.Add([]byte("\x00\x00\x00\x00\x00\x01\xff\xff\xff\xfe\x00\x00"))
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := decodeBind(body)
		if err != nil {
			return
		}
		for i := range b.params {
			b.format(i)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("stmt\x00SELECT $1\x00\x00\x01\x00\x00\x00\x17"))
	f.Add([]byte("\x00\x00\x00\x02\x00\x00\x00\x17"))
	f.Fuzz(func(t *testing.T, body []byte) {
		name, sql, oids, err := decodeParse(body)
		if err != nil {
			return
		}
		m := pgproto3.Parse{Name: name, Query: string(sql), ParameterOIDs: oids}
		if frame, err := m.Encode(nil); err != nil || !bytes.Equal(frame[frameHeader:], body) {
			t.Errorf("%q read as %q, %q, %v: %v", body, name, sql, oids, err)
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("Q\x00\x00\x00\x0dSELECT 1\x00S\x00\x00\x00\x04"), 3)
	f.Add([]byte("Q\x7f\xff\xff\xff"), 1)
	f.Fuzz(func(t *testing.T, stream []byte, whole int) {
		// However the stream is cut, and whether frames come whole or in
		// pieces, they are the same.
		all := readAll(newReader(bytes.NewReader(stream), 1<<20))
		bytewise := readAll(newReader(iotest.OneByteReader(bytes.NewReader(stream)), 1<<20))
		if !bytes.Equal(all, bytewise) {
			t.Errorf("%q read at once, %q read by bytes", all, bytewise)
		}
		if !bytes.HasPrefix(stream, all) {
			t.Errorf("%q of %q", all, stream)
		}
		for _, src := range []io.Reader{bytes.NewReader(stream), iotest.OneByteReader(bytes.NewReader(stream))} {
			r := newReader(src, 1<<20)
			r.inPieces, r.whole = func(byte) bool { return true }, whole
			// The last frame may be cut off, of which pieces are read.
			if pieces := readAll(r); !bytes.HasPrefix(pieces, all) || !bytes.HasPrefix(stream, pieces) {
				t.Errorf("%q read whole, %q in pieces, of %q", all, pieces, stream)
			}
		}
	})
}

func readAll(r *reader) (all []byte) {
	for {
		f, err := r.next()
		if err != nil {
			return all
		}
		all = append(all, f...)
		for r.left > 0 {
			p, err := r.piece(1 + len(all)%7)
			if err != nil {
				return all
			}
			all = append(all, p...)
		}
	}
}

func FuzzStartup(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x16\x00\x03\x00\x00user\x00agent\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, packet []byte) {
		client, gate := net.Pipe()
		go func() { client.Write(packet); client.Close() }()
		defer gate.Close()
		p, _, err := readStartup(gate)
		if err == nil && len(p) >= 4 {
			_ = (&startup{}).parse(p)
		}
		_, _ = io.Copy(io.Discard, gate)
	})
}

func FuzzDataRow(f *testing.F) {
	f.Add([]byte("D\x00\x00\x00\x10\x00\x02\x00\x00\x00\x01a\xff\xff\xff\xff"), 2)
	f.Fuzz(func(t *testing.T, frame []byte, n int) {
		if len(frame) < frameHeader || n < 0 || n > 1600 {
			return
		}
		// A row that is put together again from its values is the same row.
		h := &head{oids: make([]uint32, n), formats: make([]int16, n)}
		b := &rowBuffers{}
		b.rows.Reset(make([]event.Field, n))
		columns := make([]int, n)
		for i := range columns {
			columns[i], h.oids[i] = i, 25
		}
		if b.add(frame, h, columns) != nil {
			return
		}
		if n > 0 {
			b.rows.Set(0, 0, []byte("x"))
		}
		out, err := b.append(nil, 0, frame, h, columns)
		if err != nil {
			t.Fatal(err)
		}
		k := 0
		if err := dataRow(out, n, func(int, []byte) { k++ }); err != nil || k != n {
			t.Errorf("%q became %q: %d values, %v", frame, out, k, err)
		}
	})
}

func FuzzDecoder(f *testing.F) {
	f.Add([]byte("T\x00\x00\x00\x1a\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x17\x00\x04\xff\xff\xff\xff\x00\x01D\x00\x00\x00\x0e\x00\x01\x00\x00\x00\x04\x00\x00\x00\x05"))
	f.Add([]byte("A\x00\x00\x00\x050"))                                         // a notification without its process number
	f.Add([]byte("D\x01\x00\x00\x00\x00\x02\xff\xff\xff\xff\x00\xff\xff\xf4x")) // a row too long to be read whole
	f.Fuzz(func(t *testing.T, data []byte) {
		d := NewDecoder()
		stop := errors.New("stop")
		n := 0
		_ = d.Decode(&event.Frame{Kind: event.KindData, Exchange: 1, Payload: data}, func(recorder.Part) error {
			if n++; n > 1000 {
				return stop
			}
			return nil
		})
	})
}

func FuzzBinaryToText(f *testing.F) {
	for _, oid := range []uint32{16, 17, 20, 21, 23, 25, 600, 700, 869, 1007, 1009, 1016, 1082, 1114, 1184, 1186, 1231, 1560, 1700, 2249, 2950, 3802, 3904, 4451} {
		f.Add(oid, []byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 25, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 'x'})
	}
	f.Fuzz(func(t *testing.T, oid uint32, v []byte) {
		var b rowBuffers
		b.toText(oid, v)
	})
}

// What the gate lets through as well formed, its other decoders can read.
func FuzzServerMessage(f *testing.F) {
	for _, seed := range []string{"T\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x17\x00\x04\xff\xff\xff\xff\x00\x00", "EC42501\x00Mx\x00\x00",
		"NC00000\x00\x00", "A\x00\x00\x00\x01c\x00x\x00", "Sa\x00b\x00", "CSELECT 1\x00", "ZI", "1", "t\x00\x01\x00\x00\x00\x17"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, message []byte) {
		if len(message) == 0 {
			return
		}
		kind, body := message[0], message[1:]
		if !wellFormed(appendFrame(nil, kind, func(b []byte) []byte { return append(b, body...) })) {
			if _, _, err := readHead(body); kind == 'T' && err == nil {
				t.Errorf("a malformed description is read: %q", body)
			}
			return
		}
		var err error
		switch kind {
		case 'T':
			_, _, err = readHead(body)
		case 'E', 'N':
			err = new(pgproto3.ErrorResponse).Decode(body)
		case 'S':
			err = new(pgproto3.ParameterStatus).Decode(body)
		case 'C':
			_, err = text(body)
		}
		if err != nil {
			t.Errorf("%q %q is well formed, and cannot be read: %v", kind, body, err)
		}
	})
}

// The bodies of Query, Describe, Close and Execute are read within their
// bounds, and mean the same to the server: they can be put together again.
func FuzzClientMessage(f *testing.F) {
	f.Add([]byte("SELECT 1\x00"))
	f.Add([]byte("Sname\x00"))
	f.Add([]byte("P\x00"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if sql, err := text(body); err == nil && !bytes.Equal(append(bytes.Clone(sql), 0), body) {
			t.Errorf("%q is read as %q", body, sql)
		}
		if kind, name, err := object(body); err == nil && string(kind)+name+"\x00" != string(body) {
			t.Errorf("%q is read as %q of %q", body, kind, name)
		}
		var m pgproto3.Parse
		_ = m.Decode(body)
	})
}

// Whatever comes first on a connection, it is no session.
func FuzzNegotiate(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x08\x04\xd2\x16\x2f\x00\x00\x00\x08\x04\xd2\x16\x30"))
	f.Add([]byte("\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x00\x01\x00\x00\x00\x02"))
	f.Add([]byte("\x00\x00\x00\x1e\x00\x03\x00\x02user\x00agent\x00_pq_.a\x00b\x00\x00p\x00\x00\x00\x09good\x00"))
	f.Add([]byte("\x16\x03\x01\x00\x05hello"))
	p := &Protocol{config: Config{Plaintext: true, Limits: Limits{StartupTime: time.Second}}}
	env := proxy.Env{
		Authenticate: func(context.Context, string) (event.Principal, error) { return event.Principal{}, errors.New("nobody") },
		Log:          slog.New(slog.DiscardHandler),
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		client, gate := net.Pipe()
		done := make(chan struct{})
		go func() { defer close(done); _ = p.Serve(t.Context(), gate, env) }()
		go func() { _, _ = client.Write(stream); _, _ = client.Write(nil); client.Close() }()
		said, _ := io.ReadAll(client)
		<-done
		if bytes.Contains(said, []byte("Z\x00\x00\x00\x05")) {
			t.Errorf("%q opened a session: %q", stream, said)
		}
	})
}
