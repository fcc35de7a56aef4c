package postgres

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"gatehouse/core/event"
	"gatehouse/protocols/postgres/statement"
)

// A copyFormat says how a COPY writes rows. See "File Formats" of COPY in
// PostgreSQL's documentation.
type copyFormat struct {
	binary, csv   bool
	delimiter     byte
	quote, escape byte // CSV
	null          string
	header        bool     // the first line names the columns
	forceQuote    []string // columns whose values are always quoted in CSV
	forceQuoteAll bool
	quotes        []bool // forceQuote by column, once the columns are known
	unsound       bool   // the server rejects such options
	// alike is whether what is written like NULL counts as a value, since the
	// server writes values so, too.
	alike bool
}

// copyOptions are the options of COPY that change nothing about how the gate
// reads its data.
var copyOptions = map[string]bool{
	"freeze": true, "force_not_null": true, "force_null": true, "convert_selectively": true,
	"default": true, "on_error": true, "log_verbosity": true, "reject_limit": true,
}

// newCopyFormat reads the options of a COPY. The refusal is for what would make
// its data unreadable to the gate; what the server itself will reject is left to
// it.
func newCopyFormat(c *statement.Copy) (copyFormat, *refusal) {
	f := copyFormat{}
	given := map[string]string{}
	for _, o := range c.Options {
		switch o.Name {
		case "format", "delimiter", "null", "quote", "escape", "header":
		case "force_quote":
			f.forceQuote, f.forceQuoteAll = o.List, o.All
		case "encoding":
			if !isUTF8(o.Value) {
				return f, &refusal{code: codeUnsupported, message: fmt.Sprintf("gatehouse: COPY in encoding %q is refused", o.Value), hint: "Use UTF8."}
			}
		default:
			if !copyOptions[o.Name] {
				return f, &refusal{code: codeUnsupported, message: fmt.Sprintf("gatehouse: COPY with option %q is refused: the gate does not know it", o.Name)}
			}
		}
		if _, twice := given[o.Name]; twice {
			f.unsound = true
		}
		given[o.Name] = o.Value
	}
	f.setFormat(given["format"])
	if v, ok := given["null"]; ok {
		f.null = v
	}
	f.setByte(&f.delimiter, given, "delimiter")
	f.setByte(&f.quote, given, "quote")
	f.escape = f.quote
	f.setByte(&f.escape, given, "escape")
	switch v, ok := given["header"]; {
	case !ok:
	case strings.EqualFold(v, "true"), strings.EqualFold(v, "on"), v == "1", strings.EqualFold(v, "match"):
		f.header = true
	case strings.EqualFold(v, "false"), strings.EqualFold(v, "off"), v == "0":
	default:
		f.unsound = true
	}
	return f, nil
}

// setFormat sets the format and its defaults.
func (f *copyFormat) setFormat(name string) {
	switch name {
	case "", "text":
		f.delimiter, f.null = '\t', `\N`
	case "csv":
		f.csv, f.delimiter, f.quote = true, ',', '"'
	case "binary":
		f.binary = true
	default:
		f.unsound = true
	}
}

func (f *copyFormat) setByte(b *byte, given map[string]string, name string) {
	v, ok := given[name]
	switch {
	case !ok:
	case len(v) == 1:
		*b = v[0]
	default:
		f.unsound = true
	}
}

// code is the format code that CopyInResponse and CopyOutResponse have.
func (f *copyFormat) code() int16 {
	if f.binary {
		return 1
	}
	return 0
}

// setColumns makes f know the columns' names.
func (f *copyFormat) setColumns(fields []event.Field) {
	f.quotes = make([]bool, len(fields))
	for i := range fields {
		f.quotes[i] = f.forceQuoteAll
		for _, name := range f.forceQuote {
			f.quotes[i] = f.quotes[i] || name == fields[i].Name
		}
	}
}

// Attributes of a recorded head that say how a COPY's rows are written. They
// are there where they differ from the format's default.
const (
	copyAttr          = "postgres.copy" // "text", "csv" or "binary"
	copyDelimiterAttr = "postgres.copy.delimiter"
	copyNullAttr      = "postgres.copy.null"
	copyQuoteAttr     = "postgres.copy.quote"
	copyEscapeAttr    = "postgres.copy.escape"
	copyHeaderAttr    = "postgres.copy.header"
)

// attrs describes f for a recording.
func (f *copyFormat) attrs() []event.Attr {
	name := "text"
	if f.csv {
		name = "csv"
	} else if f.binary {
		name = "binary"
	}
	var d copyFormat
	d.setFormat(name)
	d.escape = f.quote
	as := []event.Attr{{Key: copyAttr, Value: name}}
	add := func(key, value, usual string) {
		if value != usual {
			as = append(as, event.Attr{Key: key, Value: value})
		}
	}
	add(copyDelimiterAttr, string(rune(f.delimiter)), string(rune(d.delimiter)))
	add(copyNullAttr, f.null, d.null)
	add(copyQuoteAttr, string(rune(f.quote)), string(rune(d.quote)))
	add(copyEscapeAttr, string(rune(f.escape)), string(rune(d.escape)))
	add(copyHeaderAttr, strconv.FormatBool(f.header), "false")
	return as
}

// copyFormatOf reads what attrs wrote. It returns nil where the head is not
// that of a COPY.
func copyFormatOf(as []event.Attr) *copyFormat {
	var c statement.Copy
	found := false
	for _, a := range as {
		name, ok := strings.CutPrefix(a.Key, copyAttr+".")
		if a.Key == copyAttr {
			name, ok, found = "format", true, true
		}
		if ok {
			c.Options = append(c.Options, statement.CopyOption{Name: name, Value: a.Value})
		}
	}
	f, ref := newCopyFormat(&c)
	if !found || ref != nil || f.unsound {
		return nil
	}
	return &f
}

// values calls value for each value of a row as it is written, and returns how
// many there are. In binary format a value has its length before it.
func (f *copyFormat) values(row []byte, value func(j int, raw []byte)) (n int) {
	if f.binary {
		c := cursor{b: row}
		n = c.uint16()
		for j := range n {
			at := len(row) - len(c.b)
			c.value()
			value(j, row[at:len(row)-len(c.b)])
		}
		return n
	}
	row = line(row)
	if bytes.IndexByte(row, f.special()) < 0 {
		for ; ; n++ {
			at := bytes.IndexByte(row, f.delimiter)
			if at < 0 {
				value(n, row)
				return n + 1
			}
			value(n, row[:at])
			row = row[at+1:]
		}
	}
	scan := copyScanner{copyFormat: f}
	for {
		at, end := scan.next(row)
		value(n, row[:at])
		n++
		if end == 0 {
			return n
		}
		row = row[at+1:]
	}
}

// special is what a row has in which a delimiter or line break is part of a value.
func (f *copyFormat) special() byte {
	if f.csv {
		return f.quote
	}
	return '\\'
}

// line returns a row without its line break.
func line(row []byte) []byte {
	row = bytes.TrimSuffix(row, []byte("\n"))
	return bytes.TrimSuffix(row, []byte("\r")) // one of a value is escaped or quoted
}

// decode returns the value that raw stands for, nil for NULL. In binary format
// it is still binary. What cannot be taken from raw as it is, is appended to
// arena, whose grown form is returned.
func (f *copyFormat) decode(raw, arena []byte) (v, grown []byte) {
	switch {
	case f.binary:
		c := cursor{b: raw}
		return c.value(), arena
	case f.isNull(raw):
		return nil, arena
	case bytes.IndexByte(raw, f.special()) < 0:
		return raw, arena
	}
	if arena == nil {
		arena = []byte{} // an empty value is not NULL
	}
	at := len(arena)
	if f.csv {
		grown = f.unquote(raw, arena)
	} else {
		grown = unescape(raw, arena)
	}
	return grown[at:len(grown):len(grown)], grown
}

// isNull is whether raw stands for NULL.
func (f *copyFormat) isNull(raw []byte) bool { return !f.alike && string(raw) == f.null }

// sent makes f that of data which the server sends. In text format, a value that
// is the text for NULL is written like it, unless that has a backslash of its own.
// That a value is empty tells nothing of it.
func (f *copyFormat) sent() {
	f.alike = !f.csv && !f.binary && f.null != "" && f.null != `\N`
}

// unquote appends the value of a CSV value that has quotes.
func (f *copyFormat) unquote(raw, to []byte) []byte {
	in := false
	to, _ = f.unquotePart(raw, to, &in, true)
	return to
}

// unquotePart does so for a part of one, the last or not, which begins within
// quotes or not. It returns how much of raw it has read: of all but the last part
// it leaves an escape at the end.
func (f *copyFormat) unquotePart(raw, to []byte, in *bool, last bool) (grown []byte, n int) {
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case *in && c == f.escape && i+1 == len(raw) && !last:
			return to, i
		case *in && c == f.escape && i+1 < len(raw) && (raw[i+1] == f.quote || raw[i+1] == f.escape):
			i++
			to = append(to, raw[i])
		case c == f.quote:
			*in = !*in
		default:
			to = append(to, c)
		}
	}
	return to, len(raw)
}

// unescape appends the value of a text value that has backslashes.
func unescape(raw, to []byte) []byte {
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c != '\\' || i+1 == len(raw) {
			to = append(to, c)
			continue
		}
		i++
		switch c = raw[i]; {
		case c >= '0' && c <= '7':
			v := c - '0'
			for k := 0; k < 2 && i+1 < len(raw) && raw[i+1] >= '0' && raw[i+1] <= '7'; k++ {
				i++
				v = v<<3 | (raw[i] - '0')
			}
			c = v
		case c == 'x' && i+1 < len(raw) && hexDigit(raw[i+1]) >= 0:
			v := byte(0)
			for k := 0; k < 2 && i+1 < len(raw) && hexDigit(raw[i+1]) >= 0; k++ {
				i++
				v = v<<4 | byte(hexDigit(raw[i]))
			}
			c = v
		default:
			if k := strings.IndexByte(escapeLetters, c); k >= 0 {
				c = escaped[k]
			}
		}
		to = append(to, c)
	}
	return to
}

// Each letter stands behind a backslash for a control character.
const (
	escapeLetters = "bfnrtv"
	escaped       = "\b\f\n\r\t\v"
)

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// append appends a value, nil for NULL, as column j of n is written. In binary
// format v is binary.
func (f *copyFormat) append(to, v []byte, j, n int) ([]byte, error) {
	switch {
	case f.binary:
		return appendValue(to, v)
	case v == nil:
		return append(to, f.null...), nil
	case f.csv:
		return f.appendQuoted(to, v, j, n), nil
	}
	return f.appendText(to, v), nil
}

// appendText appends what is not NULL in text format.
func (f *copyFormat) appendText(to, v []byte) []byte {
	at := 0
	for i, c := range v {
		if c >= ' ' && c != '\\' && c != f.delimiter {
			continue
		}
		k := strings.IndexByte(escaped, c)
		switch {
		case k >= 0:
			c = escapeLetters[k]
		case c != '\\' && c != f.delimiter:
			continue
		}
		to = append(append(to, v[at:i]...), '\\', c)
		at = i + 1
	}
	return append(to, v[at:]...)
}

// appendQuoted appends a value of CSV, in quotes where it needs them.
func (f *copyFormat) appendQuoted(to, v []byte, j, n int) []byte {
	quote := j < len(f.quotes) && f.quotes[j] || string(v) == f.null || n == 1 && string(v) == `\.`
	for _, c := range v {
		quote = quote || c == f.delimiter || c == f.quote || c == '\n' || c == '\r'
	}
	if !quote {
		return append(to, v...)
	}
	return append(f.appendEscaped(append(to, f.quote), v), f.quote)
}

// appendEscaped appends what is within the quotes of a value of CSV.
func (f *copyFormat) appendEscaped(to, v []byte) []byte {
	for _, c := range v {
		if c == f.quote || c == f.escape {
			to = append(to, f.escape)
		}
		to = append(to, c)
	}
	return to
}
