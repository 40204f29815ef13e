package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
)

// Edit applies one edit to a decoded JSON document and returns the new
// document. The forms are
//
//	path=VALUE    set; VALUE is JSON, or else taken as a string
//	path+=VALUE   append to an array, which is made when missing
//	-path         remove a key or an element
//	sh:SCRIPT     process.args = ["/bin/sh", "-c", SCRIPT]
//	args:A B C    process.args = [A, B, C]
//
// A path is keys joined by dots; an element of an array is chosen by number
// or by the value of one of its keys: mounts[2].source,
// linux.namespaces[type=network].path. A key that holds dots or brackets is
// written in double quotes: annotations."org.example.a".
func Edit(doc any, edit string) (any, error) {
	switch {
	case strings.HasPrefix(edit, "sh:"):
		return set(doc, []step{{key: "process"}, {key: "args"}}, opSet,
			[]any{"/bin/sh", "-c", strings.TrimPrefix(edit, "sh:")})
	case strings.HasPrefix(edit, "args:"):
		var args []any
		for _, a := range strings.Fields(strings.TrimPrefix(edit, "args:")) {
			args = append(args, a)
		}
		return set(doc, []step{{key: "process"}, {key: "args"}}, opSet, args)
	case strings.HasPrefix(edit, "-"):
		p, rest, err := parsePath(edit[1:])
		if err == nil && rest != "" {
			err = fmt.Errorf("unexpected %q", rest)
		}
		if err != nil {
			return nil, fmt.Errorf("edit %q: %w", edit, err)
		}
		doc, err = set(doc, p, opRemove, nil)
		if err != nil {
			return nil, fmt.Errorf("edit %q: %w", edit, err)
		}
		return doc, nil
	}
	p, rest, err := parsePath(edit)
	if err != nil {
		return nil, fmt.Errorf("edit %q: %w", edit, err)
	}
	op := opSet
	switch {
	case strings.HasPrefix(rest, "+="):
		op, rest = opAppend, rest[2:]
	case strings.HasPrefix(rest, "="):
		rest = rest[1:]
	default:
		return nil, fmt.Errorf("edit %q: no = after the path", edit)
	}
	doc, err = set(doc, p, op, value(rest))
	if err != nil {
		return nil, fmt.Errorf("edit %q: %w", edit, err)
	}
	return doc, nil
}

// EditFile applies edits to a JSON file in place.
func EditFile(name string, edits ...string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	doc, err := Decode(data)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, e := range edits {
		if doc, err = Edit(doc, e); err != nil {
			return err
		}
	}
	return WriteJSON(name, doc)
}

// Decode decodes a JSON document; numbers keep their digits.
func Decode(data []byte) (any, error) {
	var doc any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&doc); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("more than one JSON value")
	}
	return doc, nil
}

// WriteJSON writes a document as indented JSON.
func WriteJSON(name string, doc any) error {
	data, err := json.MarshalIndent(doc, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(data, '\n'), 0o644)
}

// Lookup returns the value at a path, and whether there is one.
func Lookup(doc any, path string) (any, bool, error) {
	p, rest, err := parsePath(path)
	if err != nil {
		return nil, false, err
	}
	if rest != "" {
		return nil, false, fmt.Errorf("path %q: unexpected %q", path, rest)
	}
	for _, s := range p {
		switch v := doc.(type) {
		case map[string]any:
			if s.sel != "" || s.isIndex {
				return nil, false, nil
			}
			next, ok := v[s.key]
			if !ok {
				return nil, false, nil
			}
			doc = next
		case []any:
			i := s.find(v)
			if i < 0 {
				return nil, false, nil
			}
			doc = v[i]
		default:
			return nil, false, nil
		}
	}
	return doc, true, nil
}

// Matches reports whether the document satisfies an expectation:
// "path=VALUE" (equal), "path?" (present) or "path!" (absent).
// got is what stands at the path.
func Matches(doc any, expect string) (ok bool, got any, err error) {
	p, rest, err := parsePath(expect)
	if err != nil {
		return false, nil, err
	}
	path := strings.TrimSuffix(expect, rest)
	_ = p
	v, found, err := Lookup(doc, path)
	if err != nil {
		return false, nil, err
	}
	switch {
	case rest == "?":
		return found, v, nil
	case rest == "!":
		return !found, v, nil
	case strings.HasPrefix(rest, "="):
		want := value(rest[1:])
		if s, isString := v.(string); isString {
			return found && s == rest[1:] || reflect.DeepEqual(v, want), v, nil
		}
		return found && reflect.DeepEqual(v, want), v, nil
	}
	return false, nil, fmt.Errorf("not an expectation (path=VALUE, path?, path!): %q", expect)
}

func value(s string) any {
	if v, err := Decode([]byte(s)); err == nil {
		return v
	}
	return s
}

// step is one part of a path: a key, an index, or a selector [sel=key].
type step struct {
	key     string
	sel     string
	index   int
	isIndex bool
}

func (s step) find(list []any) int {
	if s.isIndex {
		if s.index < len(list) {
			return s.index
		}
		return -1
	}
	if s.sel == "" {
		return -1
	}
	for i, e := range list {
		if m, ok := e.(map[string]any); ok && fmt.Sprint(m[s.sel]) == s.key {
			return i
		}
	}
	return -1
}

// parsePath reads a path up to the first character that can't belong to one.
func parsePath(s string) (path []step, rest string, err error) {
	for {
		switch {
		case strings.HasPrefix(s, `"`):
			end := strings.IndexByte(s[1:], '"')
			if end < 0 {
				return nil, "", fmt.Errorf("unclosed quote in path")
			}
			path, s = append(path, step{key: s[1 : 1+end]}), s[end+2:]
		case strings.HasPrefix(s, "["):
			end := strings.IndexByte(s, ']')
			if end < 0 {
				return nil, "", fmt.Errorf("unclosed bracket in path")
			}
			in := s[1:end]
			s = s[end+1:]
			if k, v, ok := strings.Cut(in, "="); ok {
				path = append(path, step{sel: k, key: v})
			} else if i, err := strconv.Atoi(in); err == nil && i >= 0 {
				path = append(path, step{index: i, isIndex: true})
			} else {
				return nil, "", fmt.Errorf("bad index %q", in)
			}
		default:
			end := strings.IndexAny(s, `.[=+?!`)
			if end < 0 {
				end = len(s)
			}
			if end == 0 {
				return nil, "", fmt.Errorf("empty key in path")
			}
			path, s = append(path, step{key: s[:end]}), s[end:]
		}
		switch {
		case strings.HasPrefix(s, "."):
			s = s[1:]
		case strings.HasPrefix(s, "["):
		default:
			return path, s, nil
		}
	}
}

type op int

const (
	opSet op = iota
	opAppend
	opRemove
)

// set applies the operation below doc and returns what doc becomes: maps are
// changed in place, arrays may be replaced.
func set(doc any, path []step, o op, v any) (any, error) {
	if len(path) == 0 {
		if o == opAppend {
			list, ok := doc.([]any)
			if doc != nil && !ok {
				return nil, fmt.Errorf("not an array")
			}
			return append(list, v), nil
		}
		return v, nil
	}
	s := path[0]
	if s.isIndex || s.sel != "" {
		list, ok := doc.([]any)
		if !ok {
			return nil, fmt.Errorf("not an array at %v", s)
		}
		i := s.find(list)
		if i < 0 {
			return nil, fmt.Errorf("no element %v", s)
		}
		if len(path) == 1 && o == opRemove {
			return append(append([]any{}, list[:i]...), list[i+1:]...), nil
		}
		e, err := set(list[i], path[1:], o, v)
		if err != nil {
			return nil, err
		}
		list[i] = e
		return list, nil
	}
	m, ok := doc.(map[string]any)
	if !ok {
		if doc != nil {
			return nil, fmt.Errorf("not an object at %q", s.key)
		}
		m = map[string]any{}
	}
	if len(path) == 1 && o == opRemove {
		delete(m, s.key)
		return m, nil
	}
	child, err := set(m[s.key], path[1:], o, v)
	if err != nil {
		return nil, err
	}
	m[s.key] = child
	return m, nil
}
