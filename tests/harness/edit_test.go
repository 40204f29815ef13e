package harness

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func decode(t *testing.T, text string) any {
	t.Helper()
	doc, err := Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestEdit(t *testing.T) {
	for _, tc := range []struct {
		name, doc string
		edits     []string
		want      string
	}{
		{"set", `{"a":{"b":1}}`, []string{"a.b=2", "a.c=x y"}, `{"a":{"b":2,"c":"x y"}}`},
		{"makes objects", `{}`, []string{`a.b.c=true`}, `{"a":{"b":{"c":true}}}`},
		{"append", `{"a":[1]}`, []string{`a+=2`, `b+={"x":1}`}, `{"a":[1,2],"b":[{"x":1}]}`},
		{"remove", `{"a":[1,2,3],"b":1}`, []string{"-a[1]", "-b"}, `{"a":[1,3]}`},
		{"select", `{"m":[{"d":"/x"},{"d":"/y"}]}`, []string{`m[d=/y].o=1`, `-m[d=/x]`}, `{"m":[{"d":"/y","o":1}]}`},
		{"quoted", `{}`, []string{`a."b.c"=1`}, `{"a":{"b.c":1}}`},
		{"large number", `{"a":1}`, []string{`b=18446744073709551615`}, `{"a":1,"b":18446744073709551615}`},
		{"shell", `{}`, []string{`sh:echo hi`}, `{"process":{"args":["/bin/sh","-c","echo hi"]}}`},
		{"args", `{}`, []string{`args:/bin/a b`}, `{"process":{"args":["/bin/a","b"]}}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			doc, want := decode(t, tc.doc), decode(t, tc.want)
			for _, e := range tc.edits {
				var err error
				if doc, err = Edit(doc, e); err != nil {
					t.Fatal(err)
				}
			}
			if d := cmp.Diff(want, doc); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestEditErrors(t *testing.T) {
	for _, e := range []string{"", "a", "a[=1", "a[x=1]=2", "a.b=1", "a..b=1"} {
		if _, err := Edit(map[string]any{"a": 1.0}, e); err == nil {
			t.Errorf("Edit(%q) made no error", e)
		}
	}
}

func TestMatches(t *testing.T) {
	doc := decode(t, `{"a":{"b":[1,{"k":"v","n":3}]},"s":"17"}`)
	for expect, want := range map[string]bool{
		"a.b[0]=1": true, "a.b[0]=2": false, "a.b[k=v].n=3": true, "a.x?": false, "a.x!": true,
		"a.b?": true, "s=17": true, "a.b[7]!": true, `a.b[1]={"k":"v","n":3}`: true,
	} {
		got, _, err := Matches(doc, expect)
		if err != nil || got != want {
			t.Errorf("Matches(%q) = %v, %v, want %v", expect, got, err, want)
		}
	}
}
