package wire

import (
	"strconv"
	"strings"
)

// maxFaults is how many type faults a reader keeps. A document with more is of
// another kind altogether, and finding the path of each takes a pass over it.
const maxFaults = 100

// maxDepth is how deep arrays and objects may nest: encoding/json's limit.
const maxDepth = 10000

// Reader is a pull reader of one JSON document.
//
// Each value method consumes exactly one value. null and a value of the wrong
// type both give the zero value; the latter is also kept as a TypeFault. A
// syntax error ends the document: every later call returns zero values and
// every loop over NextKey or NextElem ends, so callers look at Err once, after
// End.
//
//	r := wire.NewReader(buf)
//	if r.BeginObject() {
//		for r.NextKey() {
//			switch r.Key() {
//			case "id":
//				id = r.String()
//			default:
//				r.Skip()
//			}
//		}
//	}
//	err := r.End()
//
// Strings that hold no escape alias the buffer that the reader was made with:
// it must not be modified as long as they are in use.
type Reader struct {
	// Pool is for decoding functions to keep what they like.
	Pool any

	buf    []byte
	pos    int
	depth  int
	first  bool // the object or array just begun has had no element yet
	key    string
	err    *SyntaxError
	faults []TypeFault
	strs   []string // backs what Strings returns
}

// NewReader returns a reader of the one document in buf. See Reader about the
// life of buf.
func NewReader(buf []byte) *Reader { return &Reader{buf: buf} }

// Reset makes r a reader of the document in buf, without faults. Pool stays.
func (r *Reader) Reset(buf []byte) { *r = Reader{Pool: r.Pool, buf: buf} }

// Err returns the syntax error that ended the document, or nil.
func (r *Reader) Err() *SyntaxError { return r.err }

// Faults returns the type faults so far, in the order in which they were met;
// the first hundred of them if there are more.
func (r *Reader) Faults() []TypeFault { return r.faults }

// Offset returns the byte offset of the next unread byte.
func (r *Reader) Offset() int { return r.pos }

// End checks that nothing but white space follows the document and returns the
// first error: a *SyntaxError, or nil. Type faults are not errors of it.
func (r *Reader) End() error {
	if r.err == nil {
		r.space()
		if r.pos < len(r.buf) {
			r.fail(r.pos, "unexpected "+charName(r.buf, r.pos)+" after the end of the document")
		}
	}
	if r.err != nil {
		return r.err
	}
	return nil
}

// Fault records that the value at offset off is not what it should be. Callers
// take off from Offset before they read the value.
func (r *Reader) Fault(off int, msg string) {
	r.add(TypeFault{Offset: off, Msg: msg})
}

func (r *Reader) add(f TypeFault) {
	if r.err == nil && len(r.faults) < maxFaults {
		r.faults = append(r.faults, f)
	}
}

// Missing records that the object at offset off lacks a member that it must
// have.
func (r *Reader) Missing(off int, key string) {
	r.add(TypeFault{Offset: off, Key: key, Msg: "is required"})
}

// Null consumes a null if that is what comes next, and says whether it was.
func (r *Reader) Null() bool {
	if r.peek() != 'n' {
		return false
	}
	return r.literal("null")
}

// BeginObject enters an object. It returns false when there is none to enter:
// the value was null, or of another type (a fault), and has been consumed; then
// NextKey must not be called. Otherwise it must be called until it returns false.
func (r *Reader) BeginObject() bool { return r.begin('{', "an object") }

// BeginArray enters an array, as BeginObject does an object.
func (r *Reader) BeginArray() bool { return r.begin('[', "an array") }

func (r *Reader) begin(open byte, what string) bool {
	c := r.peek()
	if c != open {
		if c == 'n' {
			r.literal("null")
		} else {
			r.mismatch(what)
		}
		return false
	}
	r.depth++
	if r.depth > maxDepth {
		r.fail(r.pos, "nested too deep (more than "+strconv.Itoa(maxDepth)+" levels)")
		return false
	}
	r.pos++
	r.first = true
	return true
}

// NextKey moves to the next member of the object: Key is its name and its
// value must be consumed before the next call. It returns false after the last
// one.
func (r *Reader) NextKey() bool {
	if r.ended('}', "object") {
		return false
	}
	if r.peek() != '"' {
		r.fail(r.pos, "expected a key in double quotes, found "+charName(r.buf, r.pos))
		return false
	}
	r.key = r.str()
	if r.peek() != ':' {
		r.fail(r.pos, "expected ':' after a key, found "+charName(r.buf, r.pos))
		return false
	}
	r.pos++
	return r.err == nil
}

// NextElem moves to the next element of the array, which must be consumed
// before the next call. It returns false after the last one.
func (r *Reader) NextElem() bool {
	if r.ended(']', "array") {
		return false
	}
	return r.err == nil
}

// ended consumes what stands before an element: nothing before the first, a
// comma before others; or the closing bracket.
func (r *Reader) ended(closing byte, what string) bool {
	if r.err != nil {
		return true
	}
	c := r.peek()
	if c == closing {
		r.pos++
		r.depth--
		r.first = false
		return true
	}
	if r.first {
		r.first = false
		return false
	}
	if c != ',' {
		r.fail(r.pos, "expected ',' or '"+string(rune(closing))+"' in "+what+", found "+charName(r.buf, r.pos))
		return true
	}
	r.pos++
	if r.peek() == closing {
		r.fail(r.pos, "trailing comma in "+what)
		return true
	}
	return false
}

// Key returns the name of the current member. It is good until the next call
// of NextKey, be it on an inner object.
func (r *Reader) Key() string { return r.key }

// FoldKey looks for a name equal to the current key but for letter case, makes
// it the key and says whether there was one. encoding/json matches names so:
// exactly first, then without case.
func (r *Reader) FoldKey(names ...string) bool {
	for _, n := range names {
		if n != r.key && equalFold(n, r.key) {
			r.key = n
			return true
		}
	}
	return false
}

// equalFold is strings.EqualFold with a cheap way out for the usual key, which
// is ASCII and of another length.
func equalFold(name, key string) bool {
	if len(name) == len(key) {
		return strings.EqualFold(name, key)
	}
	for i := 0; i < len(key); i++ {
		if key[i] >= 0x80 {
			return strings.EqualFold(name, key)
		}
	}
	return false
}

// Object calls f with the name of each member; f must consume its value. It
// returns false if there was no object (see BeginObject).
func (r *Reader) Object(f func(key string)) bool {
	if !r.BeginObject() {
		return false
	}
	for r.NextKey() {
		f(r.key)
	}
	return true
}

// Array calls f with the index of each element; f must consume it. It returns
// false if there was no array.
func (r *Reader) Array(f func(i int)) bool {
	if !r.BeginArray() {
		return false
	}
	for i := 0; r.NextElem(); i++ {
		f(i)
	}
	return true
}

// Skip consumes one value of any type.
func (r *Reader) Skip() {
	switch c := r.peek(); {
	case c == '{':
		if r.BeginObject() {
			for r.NextKey() {
				r.Skip()
			}
		}
	case c == '[':
		if r.BeginArray() {
			for r.NextElem() {
				r.Skip()
			}
		}
	case c == '"':
		r.str()
	case c == '-' || c-'0' < 10:
		r.number()
	case c == 't':
		r.literal("true")
	case c == 'f':
		r.literal("false")
	case c == 'n':
		r.literal("null")
	default:
		r.fail(r.pos, "expected a value, found "+charName(r.buf, r.pos))
	}
}

// Raw consumes one value of any type and returns its text, without the white
// space around it. It aliases the buffer.
func (r *Reader) Raw() []byte {
	r.peek()
	start := r.pos
	r.Skip()
	if r.err != nil {
		return nil
	}
	return r.buf[start:r.pos:r.pos]
}

// peek skips white space and returns the next byte, 0 at the end.
func (r *Reader) peek() byte {
	for r.pos < len(r.buf) {
		c := r.buf[r.pos]
		if c > ' ' {
			return c
		}
		if c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c
		}
		r.pos++
	}
	return 0
}

func (r *Reader) space() { r.peek() }

// literal consumes lit.
func (r *Reader) literal(lit string) bool {
	for i := 0; i < len(lit); i++ {
		if r.pos+i >= len(r.buf) || r.buf[r.pos+i] != lit[i] {
			r.fail(r.pos+i, "expected "+lit+", found "+charName(r.buf, r.pos+i))
			return false
		}
	}
	r.pos += len(lit)
	return true
}

// fail ends the document with a syntax error at off.
func (r *Reader) fail(off int, msg string) {
	if r.err == nil {
		r.err = newSyntaxError(r.buf, off, msg)
	}
	r.pos = len(r.buf)
}

// mismatch consumes a value that should have been something else and records
// the fault.
func (r *Reader) mismatch(want string) {
	r.peek()
	start := r.pos
	r.Skip() // this adds no faults of its own
	if r.err == nil && len(r.faults) < maxFaults {
		r.add(TypeFault{Offset: start, Msg: "must be " + want + " (got " + describe(r.buf[start:r.pos]) + ")"})
	}
}

// describe shows a value in a message: its text when short, else its kind.
func describe(raw []byte) string {
	const longest = 40
	switch {
	case raw[0] == '{':
		return "an object"
	case raw[0] == '[':
		return "an array"
	case len(raw) <= longest:
		return strings.ToValidUTF8(string(raw), "\uFFFD")
	case raw[0] == '"':
		return "a string"
	}
	return "a number"
}
