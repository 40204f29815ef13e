package spec

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/spec/wire"
)

// fill sets every field of v, and of what it holds, to a value that is not the
// zero value: strings and numbers that differ, two elements in each slice and
// map.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for _, k := range []string{"z<key>", "a.key", "plain"} {
			e := reflect.New(v.Type().Elem()).Elem()
			fill(e, n)
			v.SetMapIndex(reflect.ValueOf(k), e)
		}
	case reflect.Interface:
		v.Set(reflect.ValueOf(map[string]any{"k": []any{1.5, "<x>", nil, true, map[string]any{}}}))
	case reflect.String:
		v.SetString("s\"\u00e9<&>\u2028 " + string(rune('a'+*n%26)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(-*n % 100))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n % 100))
	default:
		panic(v.Type())
	}
}

func full[T any]() *T {
	v, n := new(T), 1
	fill(reflect.ValueOf(v).Elem(), &n)
	return v
}

// codec is a pair of generated functions, to hold against encoding/json.
type codec[T any] struct {
	decode func(*wire.Reader, *T)
	encode func(*wire.Writer, *T)
}

// compare decodes in both ways, and encodes what came of it in both ways.
func (c codec[T]) compare(t *testing.T, in []byte) {
	t.Helper()
	var want, got T
	if err := json.Unmarshal(in, &want); err != nil {
		t.Fatalf("encoding/json: %v", err)
	}
	r := wire.NewReader(in)
	c.decode(r, &got)
	if err := r.End(); err != nil {
		t.Fatal(err)
	}
	for _, f := range r.Faults() {
		if f.Msg != "is required" {
			t.Fatalf("%s: %s", f.Path(in), f.Msg)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("decoded: -encoding/json +ours\n%s", diff)
	}
	for _, indent := range []string{"", "  ", "\t"} {
		w := wire.NewWriter(nil, indent)
		w.EscapeHTML = true
		c.encode(w, &got)
		text, err := json.Marshal(want)
		if indent != "" {
			text, err = json.MarshalIndent(want, "", indent)
		}
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(text), string(w.Bytes())); diff != "" {
			t.Fatalf("encoded, indent %q: -encoding/json +ours\n%s", indent, diff)
		}
	}
}

// all compares on documents with every field set, with none, and with odd keys.
func (c codec[T]) all(t *testing.T, name string) {
	t.Run(name, func(t *testing.T) {
		whole, err := json.Marshal(full[T]())
		if err != nil {
			t.Fatal(err)
		}
		c.compare(t, whole)
		c.compare(t, []byte("{}"))
		c.compare(t, []byte(`{"unknown":{"a":[1,2,{"b":null}]},"Unknown":"x"}`))
		var tree any
		if err := json.Unmarshal(whole, &tree); err != nil {
			t.Fatal(err)
		}
		c.compare(t, marshal(t, renamed(tree, strings.ToUpper)))
		c.compare(t, marshal(t, renamed(tree, func(s string) string { return s + "x" })))
		c.compare(t, marshal(t, replaced(tree, nil)))
		c.compare(t, marshal(t, emptied(tree)))
		// A member that comes again after all others.
		c.compare(t, []byte(string(whole[:len(whole)-1])+","+string(whole[1:])))
	})
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// renamed gives the tree with f applied to the keys of all objects.
func renamed(v any, f func(string) string) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[f(k)] = renamed(e, f)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = renamed(e, f)
		}
		return out
	}
	return v
}

// replaced gives the tree with each leaf replaced by leaf.
func replaced(v, leaf any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = replaced(e, leaf)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = replaced(e, leaf)
		}
		return out
	}
	return leaf
}

// emptied gives the object with all its objects and arrays empty.
func emptied(v any) any {
	out := map[string]any{}
	for k, e := range v.(map[string]any) {
		switch e.(type) {
		case map[string]any:
			out[k] = map[string]any{}
		case []any:
			out[k] = []any{}
		default:
			out[k] = e
		}
	}
	return out
}

var specCodec = codec[specs.Spec]{DecodeSpec, EncodeSpec}

func TestCodecAsEncodingJSON(t *testing.T) {
	specCodec.all(t, "Spec")
	codec[specs.Process]{DecodeProcess, EncodeProcess}.all(t, "Process")
	codec[specs.LinuxResources]{DecodeLinuxResources, EncodeLinuxResources}.all(t, "LinuxResources")
	codec[specs.LinuxSeccomp]{DecodeLinuxSeccomp, EncodeLinuxSeccomp}.all(t, "LinuxSeccomp")
	codec[specs.Hooks]{DecodeHooks, EncodeHooks}.all(t, "Hooks")
	codec[specs.State]{DecodeState, EncodeState}.all(t, "State")
	codec[specs.ContainerProcessState]{DecodeContainerProcessState, EncodeContainerProcessState}.all(t, "ContainerProcessState")
	for _, name := range configs(t) {
		t.Run(filepath.Base(name), func(t *testing.T) { specCodec.compare(t, readAll(t, name)) })
	}
}

// configs lists the sample configurations.
func configs(t testing.TB) []string {
	t.Helper()
	names, err := filepath.Glob("testdata/configs/*.json")
	if err != nil || len(names) < 5 {
		t.Fatal(names, err)
	}
	return names
}

func readAll(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Each value of the configuration with every field set, replaced by one of
// another type, gives a fault at its path, and nothing but that fault.
func TestWrongTypes(t *testing.T) {
	var tree any
	if err := json.Unmarshal(marshal(t, full[specs.Spec]()), &tree); err != nil {
		t.Fatal(err)
	}
	seen := 0
	var walk func(v any, path string, put func(any))
	walk = func(v any, path string, put func(any)) {
		var wrong []any
		switch v := v.(type) {
		case map[string]any:
			if path == "windows.credentialSpec" {
				return
			}
			wrong = []any{"x", 1, true, []any{}}
			for k, e := range v {
				walk(e, key(path, k), func(n any) { v[k] = n })
			}
		case []any:
			wrong = []any{"x", 1, false, map[string]any{}}
			for i, e := range v {
				walk(e, at(path, i, "").String(), func(n any) { v[i] = n })
			}
		case string:
			wrong = []any{1, true, []any{"x"}, map[string]any{"a": "b"}}
		case bool:
			wrong = []any{"true", 1, []any{true}, map[string]any{}}
		case float64:
			wrong = []any{"1", true, 1.5, 1e30, []any{1}, map[string]any{}}
		}
		for _, w := range wrong {
			put(w)
			in := marshal(t, tree)
			r := wire.NewReader(in)
			DecodeSpec(r, new(specs.Spec))
			if err := r.End(); err != nil {
				t.Fatal(err)
			}
			if f := r.Faults(); len(f) != 1 || f[0].Path(in) != path || !strings.HasPrefix(f[0].Msg, "must be ") {
				t.Errorf("%s = %v: faults %v", path, w, f)
			}
			seen++
		}
		put(v)
	}
	walk(tree, "", func(n any) { tree = n })
	if seen < 1000 {
		t.Errorf("only %d values were tried", seen)
	}
}

// The members that only the decoder can miss.
func TestMissingNumbers(t *testing.T) {
	tests := []struct{ in, want string }{
		{`{"process":{"rlimits":[{"type":"x"}]}}`, "process.rlimits[0].hard process.rlimits[0].soft"},
		{`{"process":{"rlimits":[{"type":"x","soft":null,"hard":1}]}}`, "process.rlimits[0].soft"},
		{`{"process":{"ioPriority":{"class":"x"}}}`, "process.ioPriority.priority"},
		{`{"linux":{"uidMappings":[{}]}}`, "linux.uidMappings[0].containerID linux.uidMappings[0].hostID linux.uidMappings[0].size"},
		{`{"linux":{"devices":[{"type":"c"},{"type":"p"},{"minor":1}]}}`, "linux.devices[0].major linux.devices[0].minor linux.devices[2].major"},
		{`{"linux":{"seccomp":{"syscalls":[{"args":[{"op":"x"}]}]}}}`, "linux.seccomp.syscalls[0].args[0].index linux.seccomp.syscalls[0].args[0].value"},
		{`{"linux":{"resources":{"devices":[{}]}}}`, "linux.resources.devices[0].allow"},
		{`{"linux":{"resources":{"blockIO":{"weightDevice":[{}],"throttleReadBpsDevice":[{"major":1}]}}}}`,
			"linux.resources.blockIO.weightDevice[0].major linux.resources.blockIO.weightDevice[0].minor " +
				"linux.resources.blockIO.throttleReadBpsDevice[0].minor linux.resources.blockIO.throttleReadBpsDevice[0].rate"},
		{`{"linux":{"resources":{"hugepageLimits":[{}],"network":{"priorities":[{}]}}}}`,
			"linux.resources.hugepageLimits[0].limit linux.resources.network.priorities[0].priority"},
		{`{"process":{"user":{}}}`, ""},
	}
	for _, tt := range tests {
		r := wire.NewReader([]byte(tt.in))
		DecodeSpec(r, new(specs.Spec))
		if err := r.End(); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range r.Faults() {
			if f.Msg != "is required" {
				t.Errorf("%s: %v", tt.in, f)
			}
			got = append(got, f.Path([]byte(tt.in)))
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.in, s, tt.want)
		}
	}
}
