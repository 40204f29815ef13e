package wire

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"
)

func TestAppendStringAsEncodingJSON(t *testing.T) {
	compareString(t, "")
	for i := range 256 {
		compareString(t, string([]byte{byte(i)}))
		compareString(t, "ab"+string([]byte{byte(i)})+"cd")
		compareString(t, string(rune(i)))
	}
	for _, s := range []string{"\u2027\u2028\u2029\u202a", "\xe2\x80", "\xed\xa0\x80", "\U0010ffff", "日本", "\x7f<>&\"\\"} {
		compareString(t, s)
	}
}

func compareString(t *testing.T, s string) {
	t.Helper()
	for _, html := range []bool{false, true} {
		var want bytes.Buffer
		e := json.NewEncoder(&want)
		e.SetEscapeHTML(html)
		if err := e.Encode(s); err != nil {
			t.Fatal(err)
		}
		got := appendString(nil, s, html)
		if string(got)+"\n" != want.String() {
			t.Errorf("%q, html %v: got %s, want %s", s, html, got, &want)
		}
	}
	r := NewReader(AppendString(nil, s))
	back := r.String()
	if err := r.End(); err != nil || back != fixUTF8([]byte(s)) {
		t.Errorf("%q: read back as %q, %v", s, back, err)
	}
}

func FuzzAppendString(f *testing.F) {
	f.Add("plain")
	f.Add("\x00\x1f\"\\\u2028<&>\xff")
	f.Fuzz(compareString)
}

func TestAppendFloatAsEncodingJSON(t *testing.T) {
	for _, v := range []float64{0, math.Copysign(0, -1), 1, -1, 0.1, 1e-6, 9.9e-7, 1e20, 1e21, 1e-9, 1.5e300, -2.5e-300, math.MaxFloat64, math.SmallestNonzeroFloat64, 123456789.125} {
		want, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if got := AppendFloat(nil, v); string(got) != string(want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := AppendFloat(nil, math.NaN()); string(got) != "null" {
		t.Errorf("NaN: %s", got)
	}
}

// compareLayout prints a document by Any and by Raw, compact and indented, and
// compares with encoding/json.
func compareLayout(t *testing.T, in []byte) {
	t.Helper()
	var v any
	if json.Unmarshal(in, &v) != nil {
		w := NewWriter(nil, "")
		if w.Raw(in); !json.Valid(in) && string(w.Bytes()) != "null" {
			t.Errorf("%q: Raw of broken JSON gives %s", in, w.Bytes())
		}
		return
	}
	raw := json.RawMessage(in)
	for _, indent := range []string{"", "  ", "\t"} {
		check := func(kind string, val any, got []byte) {
			t.Helper()
			want, err := json.Marshal(val)
			if indent != "" {
				want, err = json.MarshalIndent(val, "", indent)
			}
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Errorf("%q, %s, indent %q: got\n%s\nwant\n%s", in, kind, indent, got, want)
			}
		}
		w := NewWriter(nil, indent)
		w.EscapeHTML = true
		w.Any(v)
		check("Any", v, w.Bytes())
		w = NewWriter(nil, indent)
		w.EscapeHTML = true
		w.Raw(in)
		check("Raw", raw, w.Bytes())
		w = NewWriter(nil, indent)
		w.EscapeHTML = true
		w.BeginObject()
		w.Key("k")
		w.Raw(in)
		w.Key("l")
		w.Any(v)
		w.EndObject()
		check("members", struct {
			K json.RawMessage `json:"k"`
			L any             `json:"l"`
		}{raw, v}, w.Bytes())
	}
}

func TestLayoutAsEncodingJSON(t *testing.T) {
	for _, in := range samples {
		compareLayout(t, []byte(in))
	}
	compareLayout(t, []byte(`{"\u0061":"\u003c<>&\/","b":{"":[ ]},"c" : [ { } ,"\u2028`+"\u2028"+`"]}`))
}

func FuzzLayout(f *testing.F) {
	for _, in := range samples {
		f.Add([]byte(in))
	}
	f.Fuzz(compareLayout)
}

func TestWriterValues(t *testing.T) {
	type doc struct {
		A []string          `json:"a"`
		B []string          `json:"b"`
		M map[string]string `json:"m"`
		N map[string]string `json:"n"`
		I int64             `json:"i"`
		U uint64            `json:"u"`
		T bool              `json:"t"`
		F bool              `json:"f"`
		X any               `json:"x"`
		D float64           `json:"d"`
	}
	v := doc{A: []string{"x", "y"}, M: map[string]string{"z": "1", "a": "2", "é": "3"}, I: -5, U: math.MaxUint64, T: true, D: 1.25}
	for _, indent := range []string{"", "  "} {
		w := NewWriter([]byte("head "), indent)
		w.BeginObject()
		w.Key("a")
		w.Strings(v.A)
		w.Key("b")
		w.Strings(v.B)
		w.Key("m")
		w.StringMap(v.M)
		w.Key("n")
		w.StringMap(v.N)
		w.Key("i")
		w.Int(v.I)
		w.Key("u")
		w.Uint(v.U)
		w.Key("t")
		w.Bool(v.T)
		w.Key("f")
		w.Bool(v.F)
		w.Key("x")
		w.Null()
		w.Key("d")
		w.Float(v.D)
		w.EndObject()
		want, _ := json.Marshal(v)
		if indent != "" {
			want, _ = json.MarshalIndent(v, "", indent)
		}
		if got := w.Bytes(); string(got) != "head "+string(want) {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
}
