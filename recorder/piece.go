package recorder

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"strings"
	"sync"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"gatehouse/core/event"
)

// A Digest is the SHA-256 of an object as it is stored.
type Digest [sha256.Size]byte

// Limits of what is written and read.
const (
	// MaxFrame is the largest payload of one frame. Larger data is recorded
	// as several frames; any other larger frame is refused.
	MaxFrame = 64 << 20
	// MaxPieceSize is the largest Options.PieceSize.
	MaxPieceSize = 64 << 20
	// maxPiece bounds the frames of one piece, uncompressed: a piece is full
	// when it has reached MaxPieceSize, so that one frame may exceed that.
	maxPiece = MaxPieceSize + MaxFrame + 1<<20
	// maxObject bounds a stored piece: zstd and age never grow data by more.
	maxObject = maxPiece + maxPiece>>8 + maxHeader + 16<<10
	maxHeader = 4 << 10
	// window is the memory that reading a piece needs for decompression.
	window = 1 << 20
)

// ErrMalformed is returned for bytes that are no piece, or not the whole of one.
var ErrMalformed = errors.New("malformed piece")

const pieceMagic = "gatehouse piece 1\n"

// A Header says what a piece holds. It is stored in the clear and entered into
// the log.
type Header struct {
	Session   string
	Start     time.Time // the session's
	Sequence  uint64    // 0 for the session's first piece
	Previous  Digest    // of the piece before; zero for the first
	First     uint64    // how many frames the pieces before hold
	Frames    uint64
	From, To  time.Time // earliest and latest frame
	Size      uint64    // of the frames, uncompressed, in bytes
	Retention string    // retention class
	Last      bool      // the session has no further piece
	// Encryption is how the body is encrypted: "age", or "" if it is not.
	Encryption string
	Counts
}

// Counts are how often something happened in a piece or a session.
type Counts struct {
	Requests uint64 `json:"requests"`
	Held     uint64 `json:"held"`    // requests that waited for a decision
	Blocked  uint64 `json:"blocked"` // verdicts that refused one
}

// Object is the name under which the piece is stored.
func (h *Header) Object() string {
	return fmt.Sprintf("%s%06d.piece", sessionPrefix(h.Start, h.Session), h.Sequence)
}

// sessionPrefix is the folder of a session's objects, with a slash at its end.
func sessionPrefix(start time.Time, id string) string {
	return "sessions/" + start.UTC().Format("2006/01/02") + "/" + id + "/"
}

// ValidID reports whether id can name a session in a store.
func ValidID(id string) bool {
	const letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"
	return id != "" && len(id) <= 64 && strings.Trim(id, letters) == ""
}

// Append appends the encoding of h to b.
func (h *Header) Append(b []byte) []byte {
	b = event.AppendElement(b, 1, []byte(h.Session))
	b = event.AppendTime(b, 2, h.Start)
	b = event.AppendUint(b, 3, h.Sequence)
	if h.Sequence > 0 {
		b = event.AppendElement(b, 4, h.Previous[:])
	}
	b = event.AppendUint(b, 5, h.First)
	b = event.AppendUint(b, 6, h.Frames)
	b = event.AppendTime(b, 7, h.From)
	b = event.AppendTime(b, 8, h.To)
	b = event.AppendUint(b, 9, h.Size)
	b = event.AppendElement(b, 10, []byte(h.Retention))
	if h.Last {
		b = event.AppendUint(b, 11, 1)
	}
	b = event.AppendUint(b, 12, h.Requests)
	b = event.AppendUint(b, 13, h.Held)
	b = event.AppendUint(b, 14, h.Blocked)
	if h.Encryption != "" {
		b = event.AppendElement(b, 15, []byte(h.Encryption))
	}
	return b
}

// Decode sets h from its encoding.
func (h *Header) Decode(b []byte) error {
	*h = Header{}
	err := event.Elements(b, h.element)
	if err != nil {
		return fmt.Errorf("%w: header: %w", ErrMalformed, err)
	}
	if !ValidID(h.Session) || h.Start.IsZero() || h.Size > maxPiece || h.Frames > h.Size {
		return fmt.Errorf("%w: header", ErrMalformed)
	}
	return nil
}

func (h *Header) element(tag uint64, v []byte) (err error) {
	switch tag {
	case 1:
		h.Session = string(v)
	case 2:
		h.Start, err = event.DecodeTime(v)
	case 3:
		h.Sequence, err = event.DecodeUint(v, math.MaxUint32)
	case 4:
		if len(v) != len(h.Previous) {
			return ErrMalformed
		}
		copy(h.Previous[:], v)
	case 5:
		h.First, err = event.DecodeUint(v, math.MaxInt64)
	case 6:
		h.Frames, err = event.DecodeUint(v, math.MaxInt64)
	case 7:
		h.From, err = event.DecodeTime(v)
	case 8:
		h.To, err = event.DecodeTime(v)
	case 9:
		h.Size, err = event.DecodeUint(v, maxPiece)
	case 10:
		h.Retention = string(v)
	case 11:
		h.Last = true
	case 12:
		h.Requests, err = event.DecodeUint(v, math.MaxInt64)
	case 13:
		h.Held, err = event.DecodeUint(v, math.MaxInt64)
	case 14:
		h.Blocked, err = event.DecodeUint(v, math.MaxInt64)
	case 15:
		h.Encryption = string(v)
	}
	return err
}

// newEncoder returns what compresses pieces, for one caller at a time. It leaves
// out checksums: a piece has its digest.
func newEncoder() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window), zstd.WithEncoderCRC(false))
}

// encodePiece returns the stored form of a piece, in b if it fits. With
// recipients it is encrypted to them.
func encodePiece(z *zstd.Encoder, b []byte, h *Header, frames []byte, recipients []age.Recipient) ([]byte, error) {
	h.Encryption = ""
	if len(recipients) > 0 {
		h.Encryption = encryptionAge
	}
	b = append(b[:0], pieceMagic...)
	at := len(b)
	b = h.Append(append(b, 0, 0, 0, 0))
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	if len(recipients) > 0 {
		return encrypt(b, z.EncodeAll(frames, nil), recipients)
	}
	return z.EncodeAll(frames, b), nil
}

// readHeader reads the clear part of a piece and leaves r at the body.
func readHeader(r io.Reader) (h Header, err error) {
	var fixed [len(pieceMagic) + 4]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return h, truncated(err)
	}
	n := binary.LittleEndian.Uint32(fixed[len(pieceMagic):])
	if string(fixed[:len(pieceMagic)]) != pieceMagic || n > maxHeader {
		return h, fmt.Errorf("%w: not a piece", ErrMalformed)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return h, truncated(err)
	}
	return h, h.Decode(b)
}

func truncated(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: truncated", ErrMalformed)
	}
	return err
}

var decoders = sync.Pool{New: func() any {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(window), zstd.WithDecoderMaxMemory(maxPiece))
	if err != nil {
		panic(err) // the options are constants
	}
	return z
}}

// bodyFrames reads the frames of the piece whose header is h from r, which is
// at the body, which ids decrypt if it is encrypted. A frame is valid until the
// next. It fails if the body is not what the header says.
func bodyFrames(h *Header, r io.Reader, ids Identities) iter.Seq2[event.Frame, error] {
	return func(yield func(event.Frame, error) bool) {
		r, err := ids.open(h, r)
		if err != nil {
			yield(event.Frame{}, fmt.Errorf("piece %d: %w", h.Sequence, err))
			return
		}
		z := decoders.Get().(*zstd.Decoder)
		defer decoders.Put(z)
		if err := z.Reset(r); err != nil {
			yield(event.Frame{}, fmt.Errorf("%w: %w", ErrMalformed, err))
			return
		}
		defer func() { _ = z.Reset(nil) }() // releases r
		fr := newFrameReader(z, h.Size)
		n := uint64(0)
		for {
			f, err := fr.next()
			if err == io.EOF {
				break
			}
			if err != nil {
				yield(f, fmt.Errorf("piece %d: %w", h.Sequence, err))
				return
			}
			n++
			if !yield(f, nil) {
				return
			}
		}
		if n != h.Frames {
			yield(event.Frame{}, fmt.Errorf("%w: piece %d holds %d frames of %d", ErrMalformed, h.Sequence, n, h.Frames))
		}
	}
}

// A frameReader reads whole frames from a stream of which it believes nothing.
type frameReader struct {
	r    *bufio.Reader
	left uint64 // bytes that may still come
	buf  []byte
}

func newFrameReader(r io.Reader, size uint64) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(io.LimitReader(r, int64(size)+1), 64<<10), left: size}
}

// next returns io.EOF after exactly the number of bytes that was announced.
func (fr *frameReader) next() (f event.Frame, err error) {
	head, err := fr.r.Peek(4)
	if len(head) == 0 && fr.left == 0 && err == io.EOF {
		return f, io.EOF
	}
	if err != nil {
		return f, bodyError(err)
	}
	n := uint64(binary.LittleEndian.Uint32(head)) + 4
	if n > MaxFrame+frameOverhead || n > fr.left {
		return f, fmt.Errorf("%w: frame of %d bytes", ErrMalformed, n)
	}
	fr.left -= n
	if fr.buf, err = readN(fr.r, fr.buf[:0], int(n)); err != nil {
		return f, bodyError(err)
	}
	if _, err := f.Decode(fr.buf); err != nil {
		return f, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return f, nil
}

// frameOverhead bounds what a frame's encoding adds to its payload.
const frameOverhead = 64

// bodyError tells a body that is wrong from one that could not be read.
func bodyError(err error) error {
	var read *readError
	if errors.As(err, &read) {
		return err
	}
	return fmt.Errorf("%w: body: %w", ErrMalformed, err)
}

// A readError marks errors of the store, as against those of its content.
type readError struct{ error }

func (e *readError) Unwrap() error { return e.error }

// storeReader marks the errors of r as readErrors.
type storeReader struct{ r io.Reader }

func (s storeReader) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if err != nil && err != io.EOF {
		err = &readError{err}
	}
	return n, err
}

// readN appends n bytes of r to b. It allocates as they come, so that a length
// that lies costs nothing.
func readN(r io.Reader, b []byte, n int) ([]byte, error) {
	for n > 0 {
		step := min(n, 1<<20)
		at := len(b)
		b = append(b, make([]byte, step)...)
		if _, err := io.ReadFull(r, b[at:]); err != nil {
			return b, err
		}
		n -= step
	}
	return b, nil
}
