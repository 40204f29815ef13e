package wire

import "slices"

// Writer prints one JSON document: compact as json.Marshal does, or indented as
// json.MarshalIndent does. It puts the commas, colons and white space; the
// caller keeps Begin and End in balance and gives a Key before each member.
//
//	w := wire.NewWriter(nil, "  ")
//	w.BeginObject()
//	w.Key("id")
//	w.String(id)
//	w.EndObject()
//	buf := w.Bytes()
type Writer struct {
	// EscapeHTML makes strings print '<', '>' and '&' as \u escapes, which
	// json.Marshal and json.MarshalIndent do.
	EscapeHTML bool

	buf    []byte
	indent string
	depth  int
	first  bool // nothing printed yet in the object or array just begun
	member bool // a key has been printed, its value comes next
}

// NewWriter returns a writer that appends to dst. indent is what each level of
// nesting adds to the start of its lines; with "" everything is on one line.
func NewWriter(dst []byte, indent string) *Writer {
	return &Writer{buf: dst, indent: indent, first: true}
}

// Bytes returns what has been printed.
func (w *Writer) Bytes() []byte { return w.buf }

// next prints what stands before a key or an element.
func (w *Writer) next() {
	if w.member {
		w.member = false
		return
	}
	if w.depth == 0 {
		return
	}
	if !w.first {
		w.buf = append(w.buf, ',')
	}
	w.first = false
	w.newline()
}

func (w *Writer) newline() {
	if w.indent == "" {
		return
	}
	w.buf = append(w.buf, '\n')
	for range w.depth {
		w.buf = append(w.buf, w.indent...)
	}
}

func (w *Writer) begin(c byte) {
	w.next()
	w.buf = append(w.buf, c)
	w.depth++
	w.first = true
}

func (w *Writer) end(c byte) {
	w.depth--
	if !w.first {
		w.newline()
	}
	w.first = false
	w.buf = append(w.buf, c)
}

// BeginObject opens an object.
func (w *Writer) BeginObject() { w.begin('{') }

// EndObject closes it.
func (w *Writer) EndObject() { w.end('}') }

// BeginArray opens an array.
func (w *Writer) BeginArray() { w.begin('[') }

// EndArray closes it.
func (w *Writer) EndArray() { w.end(']') }

// Key prints the name of the next member.
func (w *Writer) Key(k string) {
	w.next()
	w.buf = appendString(w.buf, k, w.EscapeHTML)
	w.colon()
}

// colon prints what stands between a key and its value.
func (w *Writer) colon() {
	w.buf = append(w.buf, ':')
	if w.indent != "" {
		w.buf = append(w.buf, ' ')
	}
	w.member = true
}

// String prints a string.
func (w *Writer) String(s string) {
	w.next()
	w.buf = appendString(w.buf, s, w.EscapeHTML)
}

// Int prints a signed number.
func (w *Writer) Int(v int64) {
	w.next()
	w.buf = AppendInt(w.buf, v)
}

// Uint prints an unsigned number.
func (w *Writer) Uint(v uint64) {
	w.next()
	w.buf = AppendUint(w.buf, v)
}

// Float prints a number.
func (w *Writer) Float(v float64) {
	w.next()
	w.buf = AppendFloat(w.buf, v)
}

// Bool prints true or false.
func (w *Writer) Bool(v bool) {
	w.next()
	if v {
		w.buf = append(w.buf, "true"...)
	} else {
		w.buf = append(w.buf, "false"...)
	}
}

// Null prints null.
func (w *Writer) Null() {
	w.next()
	w.buf = append(w.buf, "null"...)
}

// Strings prints an array of strings, null if it is nil.
func (w *Writer) Strings(a []string) {
	if a == nil {
		w.Null()
		return
	}
	w.BeginArray()
	for _, s := range a {
		w.String(s)
	}
	w.EndArray()
}

// StringMap prints an object of strings in the order of their names, null if it
// is nil.
func (w *Writer) StringMap(m map[string]string) {
	if m == nil {
		w.Null()
		return
	}
	w.BeginObject()
	for _, k := range SortedKeys(m) {
		w.Key(k)
		w.String(m[k])
	}
	w.EndObject()
}

// SortedKeys returns the keys of m in the order that encoding/json prints them.
func SortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Raw prints a value that is JSON already, laid out anew to fit the document.
// What is not JSON is printed as null.
func (w *Writer) Raw(raw []byte) {
	r := Reader{buf: raw}
	r.Skip()
	if r.End() != nil {
		w.Null()
		return
	}
	for i := 0; i < len(raw); {
		switch c := raw[i]; c {
		case ' ', '\t', '\r', '\n', ',':
		case '{', '[':
			w.begin(c)
		case '}', ']':
			w.end(c)
		case ':':
			w.colon()
		default:
			n := textLen(raw[i:])
			w.next()
			w.buf = w.appendText(raw[i : i+n])
			i += n
			continue
		}
		i++
	}
}

// textLen returns the length of the string, number or literal at the start of
// b, which is sound JSON.
func textLen(b []byte) int {
	if b[0] == '"' {
		for i := 1; ; i++ {
			switch b[i] {
			case '\\':
				i++
			case '"':
				return i + 1
			}
		}
	}
	for i, c := range b {
		switch c {
		case ' ', '\t', '\r', '\n', ',', '}', ']':
			return i
		}
	}
	return len(b)
}

// appendText appends a string or number as it stands, but for what json.Marshal
// escapes in a RawMessage.
func (w *Writer) appendText(text []byte) []byte {
	if !w.EscapeHTML {
		return append(w.buf, text...)
	}
	out := w.buf
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '<' || c == '>' || c == '&':
			out = append(out, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		case c == 0xE2 && i+2 < len(text) && text[i+1] == 0x80 && text[i+2]&^1 == 0xA8:
			out = append(out, '\\', 'u', '2', '0', '2', hexDigits[text[i+2]&15])
			i += 2
		default:
			out = append(out, c)
		}
	}
	return out
}

// Any prints what Reader.Any returns; values of other types as null.
func (w *Writer) Any(v any) {
	switch v := v.(type) {
	case bool:
		w.Bool(v)
	case float64:
		w.Float(v)
	case string:
		w.String(v)
	case []any:
		if v == nil {
			w.Null()
			return
		}
		w.BeginArray()
		for _, e := range v {
			w.Any(e)
		}
		w.EndArray()
	case map[string]any:
		if v == nil {
			w.Null()
			return
		}
		w.BeginObject()
		for _, k := range SortedKeys(v) {
			w.Key(k)
			w.Any(v[k])
		}
		w.EndObject()
	default:
		w.Null()
	}
}
