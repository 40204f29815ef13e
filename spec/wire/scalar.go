package wire

import (
	"bytes"
	"strconv"
	"unsafe"
)

// String consumes a string. null and other types give "".
func (r *Reader) String() string {
	if r.peek() == '"' {
		return r.str()
	}
	if !r.Null() {
		r.mismatch("a string")
	}
	return ""
}

// Strings consumes an array of strings; null elements give "". The result is
// nil for null, empty but not nil for [].
func (r *Reader) Strings() []string {
	if !r.BeginArray() {
		return nil
	}
	if r.strs == nil {
		// One allocation for the strings of all arrays of the document, of which
		// there are not more than half its quotes. What is not used of it is
		// never touched, so it costs no page.
		const most = 1 << 16
		r.strs = make([]string, 0, min(bytes.Count(r.buf, []byte{'"'})/2, most))
	}
	start := len(r.strs)
	for r.NextElem() {
		r.strs = append(r.strs, r.String())
	}
	end := len(r.strs)
	return r.strs[start:end:end]
}

// StringMap consumes an object of strings into m, which it makes when nil, and
// returns it. null gives nil. A name that stands twice has its last value.
func (r *Reader) StringMap(m map[string]string) map[string]string {
	if r.Null() {
		return nil
	}
	if !r.BeginObject() {
		return m
	}
	if m == nil {
		m = map[string]string{}
	}
	for r.NextKey() {
		k := r.key
		m[k] = r.String()
	}
	return m
}

// Bool consumes true or false. null and other types give false.
func (r *Reader) Bool() bool {
	switch r.peek() {
	case 't':
		return r.literal("true")
	case 'f':
		r.literal("false")
	case 'n':
		r.literal("null")
	default:
		r.mismatch("true or false")
	}
	return false
}

// Int64 consumes a whole number. null and other types give 0.
func (r *Reader) Int64() int64 {
	v, _ := r.int(64)
	return v
}

// Uint64 consumes a whole number that is not negative. null and other types
// give 0.
func (r *Reader) Uint64() uint64 {
	v, _ := r.uint(64)
	return v
}

// Float64 consumes a number. null and other types give 0.
func (r *Reader) Float64() float64 {
	off, lit, ok := r.numeral("a number")
	if !ok {
		return 0
	}
	v, err := strconv.ParseFloat(lit, 64)
	if err != nil {
		r.Fault(off, "must be a number of 64 bits (got "+lit+")")
		return 0
	}
	return v
}

// Any consumes any value, into what encoding/json decodes it to for an empty
// interface: nil, bool, float64, string, []any or map[string]any.
func (r *Reader) Any() any {
	switch c := r.peek(); {
	case c == '{':
		m := map[string]any{}
		if r.BeginObject() {
			for r.NextKey() {
				k := r.key
				m[k] = r.Any()
			}
		}
		return m
	case c == '[':
		a := []any{}
		if r.BeginArray() {
			for r.NextElem() {
				a = append(a, r.Any())
			}
		}
		return a
	case c == '"':
		return r.str()
	case c == 't' || c == 'f':
		return r.Bool()
	case c == '-' || c-'0' < 10:
		return r.Float64()
	}
	r.Skip()
	return nil
}

// int consumes a whole number of at most bits bits.
func (r *Reader) int(bits uint) (int64, bool) {
	off, lit, ok := r.numeral("a whole number")
	if !ok {
		return 0, false
	}
	digits, neg := lit, false
	if lit[0] == '-' {
		digits, neg = lit[1:], true
	}
	u, whole, fits := decimal(digits)
	limit := uint64(1)<<(bits-1) - 1
	if neg {
		limit++
	}
	switch {
	case !whole:
		r.Fault(off, "must be a whole number (got "+lit+")")
		return 0, false
	case !fits || u > limit:
		r.Fault(off, "must be a whole number that fits "+strconv.Itoa(int(bits))+" bits (got "+lit+")")
		return 0, false
	case neg:
		return -int64(u), true
	}
	return int64(u), true
}

// uint consumes a whole number of at most bits bits that has no sign.
func (r *Reader) uint(bits uint) (uint64, bool) {
	off, lit, ok := r.numeral("a whole number")
	if !ok {
		return 0, false
	}
	if lit[0] == '-' {
		r.Fault(off, "must not be negative (got "+lit+")")
		return 0, false
	}
	u, whole, fits := decimal(lit)
	if !whole {
		r.Fault(off, "must be a whole number (got "+lit+")")
		return 0, false
	}
	if !fits || u > ^uint64(0)>>(64-bits) {
		r.Fault(off, "must be a whole number that fits "+strconv.Itoa(int(bits))+" bits (got "+lit+")")
		return 0, false
	}
	return u, true
}

// decimal reads digits: whole is false if there is anything else (a fraction,
// an exponent), fits is false if the number needs more than 64 bits.
func decimal(digits string) (u uint64, whole, fits bool) {
	fits = true
	for i := 0; i < len(digits); i++ {
		d := uint64(digits[i] - '0')
		if d > 9 {
			return 0, false, true
		}
		if u > (^uint64(0)-d)/10 {
			fits = false
		}
		u = u*10 + d
	}
	return u, true, fits
}

// numeral consumes a number and returns where it stood and its text. It is not
// ok for null and, with a fault, for other types.
func (r *Reader) numeral(want string) (off int, lit string, ok bool) {
	c := r.peek()
	if c != '-' && c-'0' > 9 {
		if !r.Null() {
			r.mismatch(want)
		}
		return 0, "", false
	}
	off = r.pos
	r.number()
	if r.err != nil {
		return 0, "", false
	}
	return off, unsafe.String(&r.buf[off], r.pos-off), true
}

// number consumes a number: -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?
func (r *Reader) number() {
	if r.buf[r.pos] == '-' {
		r.pos++
	}
	if r.pos < len(r.buf) && r.buf[r.pos] == '0' {
		r.pos++
	} else {
		r.digits()
	}
	if r.pos < len(r.buf) && r.buf[r.pos] == '.' {
		r.pos++
		r.digits()
	}
	if r.pos < len(r.buf) && r.buf[r.pos]|0x20 == 'e' {
		r.pos++
		if r.pos < len(r.buf) && (r.buf[r.pos] == '+' || r.buf[r.pos] == '-') {
			r.pos++
		}
		r.digits()
	}
}

// digits consumes one digit or more.
func (r *Reader) digits() {
	start := r.pos
	for r.pos < len(r.buf) && r.buf[r.pos]-'0' <= 9 {
		r.pos++
	}
	if r.pos == start && r.err == nil {
		r.fail(r.pos, "expected a digit, found "+charName(r.buf, r.pos))
	}
}
