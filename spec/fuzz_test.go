package spec

import (
	"encoding/json"
	"reflect"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/spec/wire"
)

// FuzzParse feeds Parse with anything. It must not crash, must refuse what is
// not JSON, and what it takes must be what encoding/json would have read.
func FuzzParse(f *testing.F) {
	for _, name := range configs(f) {
		f.Add(readAll(f, name))
	}
	f.Add([]byte(base))
	f.Add(Template(TemplateOptions{Rootless: true, CgroupNamespace: true}))
	f.Add([]byte(`{"ociVersion":"1.0.0","root":{"path":"r"},"linux":{"sysctl":{"net/../x":"1"},"namespaces":[{"type":"user"}],"uidMappings":[{"containerID":4294967295,"hostID":0,"size":4294967295}]}}`))
	f.Add([]byte(`{"ociVersion":"1.3.0-","process":{"execCPUAffinity":{"initial":"0-9,"},"scheduler":{"policy":"SCHED_DEADLINE"}},"annotations":{"org.linux-vserver.context.xid":"7"}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		b, err := Parse(in, "/bundle")
		if err != nil {
			_ = err.Error()
			return
		}
		var want specs.Spec
		if err := json.Unmarshal(in, &want); err != nil {
			t.Fatalf("encoding/json refuses it: %v", err)
		}
		// encoding/json lets elements of an array keep what an earlier member of
		// the same name put there.
		if !repeats(wire.NewReader(in)) && !reflect.DeepEqual(&want, b.Spec) {
			t.Fatalf("got  %+v\nwant %+v", b.Spec, want)
		}
		w := wire.NewWriter(nil, "")
		EncodeSpec(w, b.Spec)
		if _, err := Parse(w.Bytes(), "/bundle"); err != nil {
			t.Fatalf("what is written is refused: %v\n%s", err, w.Bytes())
		}
	})
}

// repeats says whether an object of the document may have two members of one
// name, letter case aside.
func repeats(r *wire.Reader) bool {
	found := false
	var value func()
	value = func() {
		raw := r.Raw()
		if len(raw) == 0 || raw[0] != '{' && raw[0] != '[' {
			return
		}
		in := wire.NewReader(raw)
		outer := r
		r = in
		defer func() { r = outer }()
		if raw[0] == '[' {
			in.Array(func(int) { value() })
			return
		}
		var keys []string
		in.Object(func(k string) {
			for _, other := range keys {
				if len(k) == len(other) && foldEqual(k, other) || !ascii(k) {
					found = true
				}
			}
			keys = append(keys, k)
			value()
		})
	}
	value()
	return found
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func foldEqual(a, b string) bool {
	for i := range len(a) {
		if a[i]|0x20 != b[i]|0x20 {
			return false
		}
	}
	return true
}

func BenchmarkParse(b *testing.B) {
	for _, name := range configs(b) {
		raw := readAll(b, name)
		b.Run(name[len("testdata/configs/"):], func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(raw, "/bundle"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
