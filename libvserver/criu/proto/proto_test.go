package proto

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fill sets every field of a struct to something that is not nothing.
func fill(v reflect.Value) {
	for i := range v.NumField() {
		f := v.Field(i)
		switch f.Interface().(type) {
		case string:
			f.SetString("s" + v.Type().Field(i).Name)
		case int:
			f.SetInt(int64(-i - 1))
		case uint64:
			f.SetUint(uint64(i) + 1<<40)
		case bool:
			f.SetBool(true)
		case []string:
			f.Set(reflect.ValueOf([]string{"one", "two " + v.Type().Field(i).Name}))
		case []Pair:
			f.Set(reflect.ValueOf([]Pair{{"k", "v\n\""}, {v.Type().Field(i).Name, ""}}))
		case []InheritFD:
			f.Set(reflect.ValueOf([]InheritFD{{"pipe:[1]", 1}, {"x", 0}}))
		default:
			fill(f)
		}
	}
}

// TestEveryField: no field is forgotten on the way.
func TestEveryField(t *testing.T) {
	var q Request
	fill(reflect.ValueOf(&q).Elem())
	gotq, err := DecodeRequest(q.Encode())
	if d := cmp.Diff(&q, gotq); d != "" || err != nil {
		t.Error(d, err)
	}
	var e Event
	fill(reflect.ValueOf(&e).Elem())
	gote, err := DecodeEvent(e.Encode())
	if d := cmp.Diff(&e, gote); d != "" || err != nil {
		t.Error(d, err)
	}
	if got, err := DecodeRequest((&Request{}).Encode()); err != nil || !reflect.DeepEqual(got, new(Request)) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestBadMessages(t *testing.T) {
	for _, s := range []string{"", "{", `{"kind":1}`, `{"options":{"pid":"x"}}`, `[]`} {
		if _, err := DecodeRequest([]byte(s)); err == nil {
			t.Errorf("request %q passed", s)
		}
	}
	for _, s := range []string{"", `{"pid":1.5}`} {
		if _, err := DecodeEvent([]byte(s)); err == nil {
			t.Errorf("event %q passed", s)
		}
	}
	if !GoesOn(Reply(true)) || GoesOn(Reply(false)) || GoesOn(nil) {
		t.Error("replies")
	}
}
