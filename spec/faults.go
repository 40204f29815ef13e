package spec

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/vsrun/vsrun/spec/wire"
)

// Fault is one thing that is wrong with a document.
type Fault struct {
	Path string // JSON path of the value: process.rlimits[2].type
	Msg  string // what is wrong with it, lower case, no period
}

// Faults are all the faults of a document, as an error of one line. errors.As
// finds it in what Load and the Parse functions return.
type Faults []Fault

// Error gives "PATH: MSG", or "2 faults: PATH: MSG; PATH: MSG".
func (f Faults) Error() string {
	var b strings.Builder
	if len(f) != 1 {
		b.WriteString(strconv.Itoa(len(f)) + " faults: ")
	}
	for i, fault := range f {
		if i > 0 {
			b.WriteString("; ")
		}
		if fault.Path != "" {
			b.WriteString(fault.Path + ": ")
		}
		b.WriteString(fault.Msg)
	}
	return b.String()
}

// FileError is what is wrong with a file: Faults, a *SyntaxError, or the
// system's error of reading it.
type FileError struct {
	File string // as the user knows it: config.json
	Err  error
}

// Error gives "FILE: ERR".
func (e *FileError) Error() string { return e.File + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e *FileError) Unwrap() error { return e.Err }

// SyntaxError says where a document stops being JSON.
type SyntaxError struct {
	*wire.SyntaxError
	Path string // JSON path of the innermost value that was open there
}

// Error gives "line 3, column 7: MSG (in PATH)".
func (e *SyntaxError) Error() string {
	s := e.SyntaxError.Error()
	if e.Path != "" {
		s += " (in " + e.Path + ")"
	}
	return s
}

// Unwrap returns the *wire.SyntaxError.
func (e *SyntaxError) Unwrap() error { return e.SyntaxError }

// decodeErrors turns what the reader of raw met with into a syntax error or
// faults. prefix is put before the faults' paths.
func decodeErrors(r *wire.Reader, raw []byte, prefix string) (Faults, error) {
	if err := r.End(); err != nil {
		se := r.Err()
		return nil, &SyntaxError{se, wire.PathAt(raw, se.Offset)}
	}
	var faults Faults
	for _, f := range r.Faults() {
		faults = append(faults, Fault{joinPath(prefix, f.Path(raw)), f.Msg})
	}
	return faults, nil
}

// joinPath puts prefix before a path within what prefix stands for.
func joinPath(prefix, path string) string {
	switch {
	case prefix == "":
		return path
	case path == "" || path[0] == '[':
		return prefix + path
	}
	return prefix + "." + path
}

// merge adds the faults that checks found to those of decoding. A value that
// could not be decoded is empty to the checks, so what they say of it, of
// something in it or of what it is in does not count.
func (f Faults) merge(found Faults) Faults {
	decoded := f
next:
	for _, c := range found {
		for _, d := range decoded {
			if within(c.Path, d.Path) || within(d.Path, c.Path) {
				continue next
			}
		}
		f = append(f, c)
	}
	return f
}

// within says whether path is outer or within it.
func within(path, outer string) bool {
	return strings.HasPrefix(path, outer) &&
		(len(path) == len(outer) || outer == "" || path[len(outer)] == '.' || path[len(outer)] == '[')
}

// loc is a place in a document: base[i].field[j].leaf, without what is negative
// or empty. Its path is only made when there is something to say of it.
type loc struct {
	base  string
	i     int
	field string
	j     int
	leaf  string
}

// top is the place of the value at a path that is known.
func top(path string) loc { return loc{base: path, i: -1, j: -1} }

// at is element i of the array at path, or field of that element if not "".
func at(path string, i int, field string) loc { return loc{path, i, field, -1, ""} }

// under is the value at path field below the one at base.
func under(base, field string) loc { return loc{base, -1, field, -1, ""} }

// in is element j of the array at l, or leaf of that element if not "".
func (l loc) in(j int, leaf string) loc {
	l.j, l.leaf = j, leaf
	return l
}

func (l loc) String() string {
	s := l.base
	if l.i >= 0 {
		s += "[" + strconv.Itoa(l.i) + "]"
	}
	if l.field != "" {
		s = joinPath(s, l.field)
	}
	if l.j >= 0 {
		s += "[" + strconv.Itoa(l.j) + "]"
	}
	if l.leaf != "" {
		s = joinPath(s, l.leaf)
	}
	return s
}

// key gives the path of member k of the object at path.
func key(path, k string) string { return string(wire.AppendKey([]byte(path), k)) }

// quote shows a value in a message.
func quote(s string) string {
	const longest = 200
	if len(s) > longest {
		return strconv.Quote(s[:longest]) + "..."
	}
	return strconv.Quote(s)
}

// sortFaults puts faults that were found in the order of a map into an order.
func sortFaults(f Faults) {
	slices.SortFunc(f, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Msg, b.Msg))
	})
}
