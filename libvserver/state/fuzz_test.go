package state

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FuzzDecode reads any state.json. What is taken for a record stays the same when it is written and read again.
func FuzzDecode(f *testing.F) {
	f.Add(fullRecord("web").encode())
	f.Add((&Record{ID: "x"}).encode())
	f.Add([]byte(`{"id":"x","created":"2026-01-02T03:04:05Z","vsrun":{"parts":{"a":null,"a":1}},"config":}`))
	f.Add([]byte(`{"id":"x","config":{`))
	f.Add([]byte(`{"config":}`))
	f.Add([]byte(`{"id":"0","vsrun":{"annotations":{}}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		rec, err := decode(bytes.Clone(in))
		if err != nil {
			_ = err.Error()
			return
		}
		if rec.ID == "" {
			t.Fatal("a record without an id")
		}
		again, err := decode(rec.encode())
		if err != nil {
			t.Fatalf("what is written is refused: %v\n%s", err, rec.encode())
		}
		rec.Created, again.Created = rec.Created.UTC(), again.Created.UTC()
		if d := cmp.Diff(rec, again, cmp.AllowUnexported(Record{}, part{}), cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("it is another when it is written and read again: %s", d)
		}
	})
}

// FuzzCheckID: an id that is taken names a directory right below the root, and nothing else.
func FuzzCheckID(f *testing.F) {
	for _, id := range []string{"web", "..", ".", "a/b", "", "a..b", "-", "a\x00b", "a\nb", "ä"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, id string) {
		if CheckID(id) != nil {
			return
		}
		if id == "" || id == "." || id == ".." || len(id) > 255 {
			t.Fatalf("%q is taken", id)
		}
		for _, c := range []byte(id) {
			if c == '/' || c <= ' ' || c >= 0x7f {
				t.Fatalf("%q is taken", id)
			}
		}
	})
}
