package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// tree is a directory of settings. It remembers what was looked at.
type tree struct {
	dir  string
	read map[string]bool
	errs []error
}

func openTree(dir string) (*tree, error) {
	st, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return nil, fmt.Errorf("%s: not a directory", dir)
	}
	return &tree{dir: dir, read: map[string]bool{}}, nil
}

// text is what a file holds, without white space around it; "" if there is none.
func (t *tree) text(name string) string {
	t.read[name] = true
	b, err := os.ReadFile(filepath.Join(t.dir, name))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			t.errs = append(t.errs, err)
		}
		return ""
	}
	return strings.TrimSpace(string(b))
}

// has tells if a file is there.
func (t *tree) has(name string) bool {
	t.read[name] = true
	_, err := os.Lstat(filepath.Join(t.dir, name))
	return err == nil
}

// lines are those of a file, without comments.
func (t *tree) lines(name string) []string {
	var list []string
	for l := range strings.Lines(t.text(name)) {
		l = strings.TrimSpace(l)
		if l != "" && l[0] != '#' {
			list = append(list, l)
		}
	}
	return list
}

// words are those of a file, without comments: a list of flags.
func (t *tree) words(name string) []string {
	var list []string
	for _, l := range t.lines(name) {
		list = append(list, strings.FieldsFunc(l, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })...)
	}
	return list
}

// entries are the names in a directory, in order.
func (t *tree) entries(name string) []string {
	t.read[name] = true
	list, err := os.ReadDir(filepath.Join(t.dir, name))
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// target is where a symbolic link leads, or the path of what is there; "" for nothing.
func (t *tree) target(name string) string {
	t.read[name] = true
	path := filepath.Join(t.dir, name)
	real, err := filepath.EvalSymlinks(path)
	if err == nil {
		return real
	}
	if link, err := os.Readlink(path); err == nil {
		if !filepath.IsAbs(link) {
			link = filepath.Join(t.dir, filepath.Dir(name), link)
		}
		return link
	}
	return ""
}

// unread are the files that nobody has looked at.
func (t *tree) unread() []string {
	var list []string
	_ = filepath.WalkDir(t.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		name, _ := filepath.Rel(t.dir, path)
		if !d.IsDir() && !t.read[name] {
			list = append(list, name)
		}
		return nil
	})
	slices.Sort(list)
	return list
}
