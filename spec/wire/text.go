package wire

import (
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// Words with one bit or byte set in each of eight bytes.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// str consumes a string. The text aliases the buffer unless it has to be
// changed.
func (r *Reader) str() string {
	b := r.buf
	i := r.pos + 1
	start := i
	ascii := true
	for {
		// Eight bytes at a time while none is a quote, a backslash, a control
		// character or beyond ASCII: the usual byte tests on a whole word. A
		// borrow may mark bytes above the first that is marked, never that one.
		for i+8 <= len(b) {
			w := uint64(b[i]) | uint64(b[i+1])<<8 | uint64(b[i+2])<<16 | uint64(b[i+3])<<24 |
				uint64(b[i+4])<<32 | uint64(b[i+5])<<40 | uint64(b[i+6])<<48 | uint64(b[i+7])<<56
			q, s := w^(ones*'"'), w^(ones*'\\')
			if m := ((q - ones) | (s - ones) | (w - ones*0x20) | w) & highs; m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
			i += 8
		}
		if i >= len(b) {
			r.fail(i, "a string has no closing quote")
			return ""
		}
		switch c := b[i]; {
		case c == '"':
			r.pos = i + 1
			if !ascii && !utf8.Valid(b[start:i]) {
				return fixUTF8(b[start:i])
			}
			if i == start {
				return ""
			}
			return unsafe.String(&b[start], i-start)
		case c == '\\':
			return r.escaped(start, i)
		case c < 0x20:
			r.fail(i, "a string holds an unescaped control character ("+charName(b, i)+")")
			return ""
		case c >= 0x80:
			ascii = false
		}
		i++
	}
}

// escaped finishes a string that began at start and has its first escape at i.
func (r *Reader) escaped(start, i int) string {
	b := r.buf
	out := make([]byte, 0, i-start+32)
	out = append(out, b[start:i]...)
	for i < len(b) {
		c := b[i]
		switch {
		case c == '"':
			r.pos = i + 1
			if !utf8.Valid(out) {
				return fixUTF8(out)
			}
			return unsafe.String(unsafe.SliceData(out), len(out))
		case c < 0x20:
			r.fail(i, "a string holds an unescaped control character ("+charName(b, i)+")")
			return ""
		case c != '\\':
			out = append(out, c)
			i++
			continue
		}
		if i+1 >= len(b) {
			break
		}
		switch e := b[i+1]; e {
		case '"', '\\', '/':
			out = append(out, e)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			c, bad := hex4(b, i+2)
			if bad >= 0 {
				r.fail(bad, "expected a hexadecimal digit in \\u escape, found "+charName(b, bad))
				return ""
			}
			i += 4
			if utf16.IsSurrogate(c) {
				// A pair is one character; a lone half is replaced.
				low := rune(-1)
				if i+3 < len(b) && b[i+2] == '\\' && b[i+3] == 'u' {
					if low, bad = hex4(b, i+4); bad >= 0 {
						r.fail(bad, "expected a hexadecimal digit in \\u escape, found "+charName(b, bad))
						return ""
					}
				}
				if c = utf16.DecodeRune(c, low); c != utf8.RuneError {
					i += 6
				}
			}
			out = utf8.AppendRune(out, c)
		default:
			r.fail(i+1, "unknown escape in a string: '\\' before "+charName(b, i+1))
			return ""
		}
		i += 2
	}
	r.fail(len(b), "a string has no closing quote")
	return ""
}

// hex4 reads four hexadecimal digits at i. bad is the offset of the first byte
// that is none, or -1.
func hex4(b []byte, i int) (v rune, bad int) {
	for end := i + 4; i < end; i++ {
		if i >= len(b) {
			return 0, i
		}
		switch c := b[i]; {
		case c-'0' <= 9:
			v = v<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			v = v<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, i
		}
	}
	return v, -1
}

// fixUTF8 replaces each byte that is not part of UTF-8 by U+FFFD.
func fixUTF8(b []byte) string {
	out := make([]byte, 0, len(b)+8)
	for len(b) > 0 {
		c, n := utf8.DecodeRune(b)
		out = utf8.AppendRune(out, c)
		b = b[n:]
	}
	return string(out)
}
