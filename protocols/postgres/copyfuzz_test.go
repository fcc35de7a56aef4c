package postgres

import (
	"bytes"
	"slices"
	"testing"

	"gatehouse/core/event"
)

// copyFormats are formats to fuzz with.
func copyFormats() []copyFormat {
	formats := []copyFormat{{}, {}, {}, {}, {}}
	formats[0].setFormat("text")
	formats[1].setFormat("text")
	formats[1].delimiter, formats[1].null = '|', ""
	formats[2].setFormat("csv")
	formats[2].escape = formats[2].quote
	formats[3].setFormat("csv")
	formats[3].delimiter, formats[3].quote, formats[3].escape, formats[3].null = ';', '\'', '\\', "NULL"
	formats[4].setFormat("binary")
	return formats
}

// parts cuts data, which comes n bytes at a time, and returns its parts.
func parts(t *testing.T, f copyFormat, data []byte, n int) (all [][]byte, rest []byte, err error) {
	r := copyReader{copyFormat: f, limit: 1 << 20}
	for len(data) > 0 && err == nil {
		k := min(n, len(data))
		r.reset()
		if err := r.feed(data[:k]); err != nil {
			return all, nil, err
		}
		data = data[k:]
		for ok := true; ok && err == nil; {
			var from, to int
			if _, from, to, ok, err = r.next(); ok && err == nil {
				all = append(all, bytes.Clone(r.buf[from:to]))
			}
		}
	}
	return all, r.buf[r.from:], err
}

// However the data of a COPY is cut into messages, its parts are the same, and
// together they are the data.
func FuzzCopyReader(f *testing.F) {
	for i := range byte(5) {
		f.Add(i, []byte("1\ta\\\tb\\\\\n\\N\t\"x\"\"\ny\"\n'a\\''\n\\.\n"), 3)
	}
	f.Add(byte(4), []byte(copySignature+"\x00\x00\x00\x00\x00\x00\x00\x02ab\x00\x02\x00\x00\x00\x01x\xff\xff\xff\xff\x00\x00\xff\xff"), 1)
	f.Add(byte(4), []byte(copySignature+"\x00\x00\x00\x00\x7f\xff\xff\xff\x00\x02\x7f\xff\xff\xff"), 5)
	f.Fuzz(func(t *testing.T, i byte, data []byte, n int) {
		format := copyFormats()[i%5]
		whole, rest, err := parts(t, format, data, len(data)+1)
		cut, cutRest, cutErr := parts(t, format, data, n&0xff+1)
		if (err == nil) != (cutErr == nil) || !bytes.Equal(bytes.Join(whole, []byte("|")), bytes.Join(cut, []byte("|"))) {
			t.Errorf("%q, %v whole, %q, %v cut", whole, err, cut, cutErr)
		}
		if err == nil && (!bytes.Equal(append(bytes.Join(whole, nil), rest...), data) || !bytes.Equal(rest, cutRest)) {
			t.Errorf("%q and %q of %q", whole, rest, data)
		}
		for _, p := range whole {
			format.values(p, func(_ int, raw []byte) { format.decode(raw, nil) })
		}
	})
}

// However rows in text or CSV are cut, their values are the same as those of
// whole rows.
func FuzzCopyValuesInParts(f *testing.F) {
	for i := range byte(4) {
		f.Add(i, []byte("1\ta\\\tb\\\\\n\\N\t\"x\"\"\ny\"\n'a\\''\n\\101\\x41z\n\"\"\"\"\n"), 3)
	}
	f.Fuzz(func(t *testing.T, i byte, data []byte, n int) {
		format := copyFormats()[i%4]
		whole, rest, err := parts(t, format, data, len(data)+1)
		if err != nil {
			return
		}
		var want, got []string
		for _, row := range whole {
			if bytes.HasSuffix(row, []byte("\r\n")) {
				return // which is left out of whole rows
			}
			format.values(row, func(_ int, raw []byte) {
				v, _ := format.decode(raw, nil)
				want = append(want, string(raw)+"="+string(v))
			})
		}
		scan := copyScanner{copyFormat: &format}
		decoder := copyDecoder{copyFormat: &format}
		var raw, v []byte
		for data = data[:len(data)-len(rest)]; len(data) > 0; {
			p := data[:min(len(data), n&0xff+1)]
			data = data[len(p):]
			for len(p) > 0 {
				k, end := scan.next(p)
				raw, v = append(raw, p[:k]...), decoder.append(v, p[:k], end != 0)
				if end == 0 {
					break
				}
				if string(raw) == format.null {
					v = nil
				}
				got = append(got, string(raw)+"="+string(v))
				raw, v, decoder = nil, nil, copyDecoder{copyFormat: &format}
				p = p[k+1:]
			}
		}
		if !slices.Equal(want, got) {
			t.Errorf("%q whole, %q in parts", want, got)
		}
	})
}

// A row that is written from values has them again when it is read.
func fuzzCopyValues(f *testing.F, format copyFormat) {
	f.Add([]byte("a"), []byte("\\\n\r\t,\"'|;"), byte(0))
	f.Add([]byte(format.null), []byte{}, byte(2))
	f.Add([]byte("\\N"), []byte("\\."), byte(5))
	f.Add([]byte("\x00\xff"), []byte("\\x41\\101"), byte(4))
	f.Fuzz(func(t *testing.T, a, b []byte, how byte) {
		values := [][]byte{a, b}
		if how&1 != 0 {
			values = values[:1]
		}
		if how&2 != 0 {
			values[len(values)-1] = nil
		}
		format := format
		if format.csv && how&4 != 0 {
			format.forceQuoteAll = true
		}
		format.setColumns(make([]event.Field, len(values)))
		var row []byte
		if format.binary {
			row = append(row, 0, byte(len(values)))
		}
		var err error
		for j, v := range values {
			if j > 0 && !format.binary {
				row = append(row, format.delimiter)
			}
			if v != nil && !format.csv && !format.binary && string(v) == format.null {
				v = []byte("other") // which text cannot tell from NULL
				values[j] = v
			}
			if row, err = format.append(row, v, j, len(values)); err != nil {
				t.Fatal(err)
			}
		}
		data := append([]byte(copySignature), make([]byte, 8)...)
		if format.binary {
			data = append(data, row...)
		} else {
			data = append(row, '\n')
		}
		all, rest, err := parts(t, format, data, 7)
		if err != nil || len(rest) > 0 || format.binary && len(all) != 2 || !format.binary && len(all) != 1 {
			t.Fatalf("%q was written as %q and cut into %q and %q, %v", values, data, all, rest, err)
		}
		n := format.values(all[len(all)-1], func(j int, raw []byte) {
			if v, _ := format.decode(raw, nil); !same(v, values[j]) {
				t.Errorf("%q was written as %q and read as %q", values[j], raw, v)
			}
		})
		if n != len(values) {
			t.Errorf("%d values of %q", n, data)
		}
	})
}

func FuzzCopyText(f *testing.F) { fuzzCopyValues(f, copyFormats()[0]) }

func FuzzCopyTextOptions(f *testing.F) { fuzzCopyValues(f, copyFormats()[1]) }

func FuzzCopyCSV(f *testing.F) { fuzzCopyValues(f, copyFormats()[2]) }

func FuzzCopyCSVOptions(f *testing.F) { fuzzCopyValues(f, copyFormats()[3]) }

func FuzzCopyBinary(f *testing.F) { fuzzCopyValues(f, copyFormats()[4]) }
