package unify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

func TestExcludes(t *testing.T) {
	for _, tc := range []struct {
		patterns string // parted by spaces
		in, out  string // files that are left out, and files that are not
	}{
		{"", "", "a etc/passwd"},
		{strings.Join(DefaultExcludes, " "), ".rpmdb dev/sda dev/shm/x etc/passwd etc/ssl/certs/ca.pem home/user/f proc/1 mnt/x root/.profile sys/x tmp/x var/lib/x usr/ls-R",
			"usr/etc/passwd usr/bin/ls opt/home/x usr/lib/tmp/x ls-R srv/a/ls-R root.txt"},
		{"*.pyc", "a.pyc usr/lib/b.pyc usr/x.pyc/inner", "a.py a.pyc.txt"},
		{"/a/b", "a/b a/b/c/d", "x/a/b a/bb b"},
		{"a/b/", "a/b/c x/a/b/c", "a/c/b"},
		{"+/etc/ssl -/etc", "etc/passwd etc/sslx", "etc/ssl/cert"},
		{"/etc +/etc/ssl", "etc/ssl/cert", "usr/x"}, // the first that matches decides
		{"~/x?", "xa xa/b", "x xab"},
		{"/[ab]*", "a bcd/e", "c"},
	} {
		ex, err := newExcludes(strings.Fields(tc.patterns))
		must(t, err)
		for want, names := range map[bool]string{true: tc.in, false: tc.out} {
			for _, name := range strings.Fields(names) {
				d := &dir{path: strings.TrimSuffix(filepath.Dir(name), ".")}
				if got := ex.match(d, filepath.Base(name)); got != want {
					t.Errorf("%q: %s is left out: %v, want %v", tc.patterns, name, got, want)
				}
			}
		}
	}
	for _, bad := range []string{"", "/", "+", "-/", "a[b", "a/[/b"} {
		if _, err := newExcludes([]string{bad}); err == nil {
			t.Errorf("%q is taken for a pattern", bad)
		}
	}
}

// The README has the list of default excludes.
func TestDefaultExcludesDocumented(t *testing.T) {
	b, err := os.ReadFile("../../README.md")
	must(t, err)
	if want := strings.Join(DefaultExcludes, " "); !strings.Contains(strings.Join(strings.Fields(string(b)), " "), want) {
		t.Errorf("README.md has no %q", want)
	}
}

// What is left out in the layout links is no link, and is told; in the layout objects there are no default excludes.
func TestDefaultExcludes(t *testing.T) {
	links := func(name string) uint64 {
		var st unix.Stat_t
		must(t, unix.Lstat(name, &st))
		return uint64(st.Nlink)
	}
	for _, tc := range []struct {
		layout    tree.Layout
		noDefault bool
		exclude   []string
		kept      string // of etc/passwd and usr/lib/f5
	}{
		{tree.LayoutLinks, false, nil, "etc/passwd"},
		{tree.LayoutLinks, true, nil, ""},
		{tree.LayoutLinks, false, []string{"+/etc/passwd", "f6"}, "usr/lib/f6"},
		{tree.LayoutObjects, false, nil, ""},
		{tree.LayoutObjects, false, []string{"/etc"}, "etc/passwd"},
	} {
		dir := needPlace(t)
		a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
		plainTree(t, a)
		was := plainTree(t, b)
		res, err := Unify(&Options{Trees: []string{a, b}, Store: filepath.Join(dir, "store"), Layout: tc.layout, NoDefault: tc.noDefault, Exclude: tc.exclude, Least: 1, Seal: SealNone})
		must(t, err)
		for _, name := range []string{"etc/passwd", "usr/lib/f6"} {
			told := false
			for _, k := range res.Trees[0].Kept {
				told = told || k.Path == name && k.Reason == excluded.String()
			}
			if told != strings.Contains(tc.kept, name) {
				t.Errorf("%+v: %s was left alone: %v", tc, name, told)
			}
			if n := uint64(1); tc.layout == tree.LayoutLinks && (links(a+"/"+name) == n) != told {
				t.Errorf("%+v: %s has %d names", tc, name, links(a+"/"+name))
			}
		}
		_, err = Ununify(&UnunifyOptions{Trees: []string{b}})
		must(t, err)
		same(t, b, was)
	}
}
