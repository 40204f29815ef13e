package features

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go/features"
)

// fill sets every field of v to something: mode 1 to values that are not zero,
// mode 2 to pointers to zero values and to empty slices and maps.
func fill(v reflect.Value, mode int) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), mode)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), mode)
		}
	case reflect.Slice:
		v.Set(reflect.ValueOf([]string{"b", "a<&>"}[:4-2*mode]))
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{}))
		if mode == 1 {
			v.Set(reflect.ValueOf(map[string]string{"z": "1", "a": "2"}))
		}
	case reflect.String:
		v.SetString([]string{"", "s", ""}[mode])
	case reflect.Bool:
		v.SetBool(mode == 1)
	default:
		panic(v.Type())
	}
}

func TestDocumentAsEncodingJSON(t *testing.T) {
	for mode := range 3 {
		var f features.Features
		if mode > 0 {
			fill(reflect.ValueOf(&f).Elem(), mode)
		}
		var want bytes.Buffer
		e := json.NewEncoder(&want)
		e.SetIndent("", "    ")
		if err := e.Encode(&f); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.String(), string(Document(&f))); diff != "" {
			t.Errorf("mode %d: -encoding/json +ours\n%s", mode, diff)
		}
	}
}
