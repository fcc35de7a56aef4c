package detect

import (
	"encoding/binary"
	"math/bits"

	"gatehouse/core/event"
)

// Lengths of card numbers and of groups in them, in digits.
const (
	cardMin   = 13
	cardMax   = 19
	cardGroup = 3
)

// findNumber sets f.number to the next card or social security number and
// reports whether there is one.
func (f *finder) findNumber() bool {
	for {
		i := nextDigit(f.v, f.atNumber)
		if len(f.v)-i < ssnDigits {
			return false
		}
		if to := card(f.v, i); to > 0 && f.card.Kind != event.Pass {
			f.number, f.atNumber = span{i, to, f.card}, to
			return true
		}
		if to := ssn(f.v, i); to > 0 && f.ssn.Kind != event.Pass {
			f.number, f.atNumber = span{i, to, f.ssn}, to
			return true
		}
		f.atNumber = digitsEnd(f.v, i)
	}
}

func isDigit(c byte) bool { return c-'0' < 10 }

// nextDigit returns where the next digit of v is from i on, or len(v).
func nextDigit(v []byte, i int) int {
	for ; i+8 <= len(v); i += 8 {
		if is := ^notDigits(binary.LittleEndian.Uint64(v[i:])) & highs; is != 0 {
			return i + bits.TrailingZeros64(is)/8
		}
	}
	for i < len(v) && !isDigit(v[i]) {
		i++
	}
	return i
}

// digitsEnd returns where the digits end that begin at v[i].
func digitsEnd(v []byte, i int) int {
	for ; i+8 <= len(v); i += 8 {
		if not := notDigits(binary.LittleEndian.Uint64(v[i:])); not != 0 {
			return i + bits.TrailingZeros64(not)/8
		}
	}
	for i < len(v) && isDigit(v[i]) {
		i++
	}
	return i
}

// card returns the end of the longest card number that begins at v[i], or 0: 13
// to 19 digits whose last is the check digit by Luhn's algorithm, with single
// blanks or hyphens between groups of three or more, and no further digit at
// the end. Cards do not begin with 0, 1 or 7, and dates have shorter groups.
func card(v []byte, i int) (end int) {
	if c := v[i]; c < '2' || c == '7' {
		return 0
	}
	// Digits count double from the right, every second one, so that which
	// these are depends on where the number ends: sums has both.
	var sums [2]int
	for n, group := 0, 0; n < cardMax; {
		d := int(v[i] - '0')
		sums[n&1] += d
		if d *= 2; d > 9 {
			d -= 9
		}
		sums[n&1^1] += d
		i, n, group = i+1, n+1, group+1
		if i == len(v) || !isDigit(v[i]) {
			if group < cardGroup {
				return end
			}
			if n >= cardMin && sums[n&1^1]%10 == 0 {
				end = i
			}
			if i+1 >= len(v) || v[i] != ' ' && v[i] != '-' || !isDigit(v[i+1]) {
				return end
			}
			i, group = i+1, 0
		}
	}
	return end
}

// ssn returns the end of the US social security number at v[i], or 0: 3, 2 and
// 4 digits with hyphens or blanks between, of those that are issued.
func ssn(v []byte, i int) int {
	const length = len("123-45-6789")
	if i+length > len(v) || i+length < len(v) && isDigit(v[i+length]) {
		return 0
	}
	s := v[i : i+length]
	for k, c := range s {
		if k == 3 || k == 6 {
			if c != s[3] || c != '-' && c != ' ' {
				return 0
			}
		} else if !isDigit(c) {
			return 0
		}
	}
	area, group, serial := string(s[:3]), string(s[4:6]), string(s[7:])
	if area == "000" || area == "666" || area[0] == '9' || group == "00" || serial == "0000" {
		return 0
	}
	return i + length
}
