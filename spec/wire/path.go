package wire

import "strconv"

// PathAt returns the JSON path of the value that holds the byte at offset off:
// `process.rlimits[2].type`, `annotations["a.b"]`, "" for the document itself.
// In a broken document it is the path of the innermost value that was open at
// off. It reads the document again, so that decoding need not keep paths.
func PathAt(buf []byte, off int) string {
	r := Reader{buf: buf}
	path, _ := r.walk(off, nil)
	return string(path)
}

// walk reads one value, whose path is path, and returns the path of what holds
// off if that is within it.
func (r *Reader) walk(off int, path []byte) ([]byte, bool) {
	c := r.peek()
	if r.pos >= off {
		return path, true
	}
	n := len(path)
	switch c {
	case '{':
		if r.BeginObject() {
			for r.NextKey() {
				p := AppendKey(path, r.key)
				if r.pos > off {
					return p, true
				}
				if p, found := r.walk(off, p); found {
					return p, true
				}
				path = path[:n]
			}
		}
	case '[':
		if r.BeginArray() {
			for i := 0; r.NextElem(); i++ {
				p := AppendIndex(path, i)
				if p, found := r.walk(off, p); found {
					return p, true
				}
				path = path[:n]
			}
		}
	default:
		r.Skip()
	}
	return path, r.err != nil || r.pos > off
}

// AppendKey appends the step to member key to a path: ".key", "key" when the
// path is empty, or `["key"]` when key is not a plain word.
func AppendKey(path []byte, key string) []byte {
	if !plainWord(key) {
		path = append(path, '[')
		path = AppendString(path, key)
		return append(path, ']')
	}
	if len(path) > 0 {
		path = append(path, '.')
	}
	return append(path, key...)
}

// AppendIndex appends the step to element i to a path: "[i]".
func AppendIndex(path []byte, i int) []byte {
	path = append(path, '[')
	path = strconv.AppendInt(path, int64(i), 10)
	return append(path, ']')
}

func plainWord(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || i > 0 && c-'0' <= 9 {
			continue
		}
		return false
	}
	return s != ""
}
