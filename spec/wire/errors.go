package wire

import (
	"strconv"
	"unicode/utf8"
)

// SyntaxError says where a document stops being JSON.
type SyntaxError struct {
	Offset int    // byte offset of the offending byte, from 0
	Line   int    // line of it, from 1
	Column int    // character of that line, from 1
	Msg    string // what is wrong, lower case, no period
}

// Error gives "line 3, column 7: MSG".
func (e *SyntaxError) Error() string {
	return "line " + strconv.Itoa(e.Line) + ", column " + strconv.Itoa(e.Column) + ": " + e.Msg
}

// TypeFault is a value of the wrong type or out of its type's range, or a
// member that is missing. The document is sound JSON, so decoding goes on after
// it.
type TypeFault struct {
	Offset int    // byte offset of the value, or of the object that misses a member
	Key    string // the member that is missing, or ""
	Msg    string // what is wrong: `must be a string (got 12)`
}

// Path returns the JSON path of the value in buf, the document that was read.
func (f TypeFault) Path(buf []byte) string {
	path := PathAt(buf, f.Offset)
	if f.Key != "" {
		path = string(AppendKey([]byte(path), f.Key))
	}
	return path
}

// newSyntaxError works the line and column out of the offset.
func newSyntaxError(buf []byte, off int, msg string) *SyntaxError {
	if off > len(buf) {
		off = len(buf)
	}
	line, start := 1, 0
	for i, c := range buf[:off] {
		if c == '\n' {
			line++
			start = i + 1
		}
	}
	return &SyntaxError{
		Offset: off,
		Line:   line,
		Column: utf8.RuneCount(buf[start:off]) + 1,
		Msg:    msg,
	}
}

// charName names the byte at off for a message: `'x'`, or "end of input".
func charName(buf []byte, off int) string {
	if off >= len(buf) {
		return "end of input"
	}
	r, n := utf8.DecodeRune(buf[off:])
	if r == utf8.RuneError && n == 1 {
		const hex = "0123456789abcdef"
		return "byte 0x" + string([]byte{hex[buf[off]>>4], hex[buf[off]&15]})
	}
	if r == 0xFEFF {
		return "a byte order mark"
	}
	return strconv.QuoteRune(r)
}
