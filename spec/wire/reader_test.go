package wire

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
)

// samples are documents and near-documents: the corpus of the differential
// tests and the seeds of the fuzz targets.
var samples = []string{
	`{}`, `[]`, `null`, `true`, `false`, `0`, `-0`, `1`, `-1`, `1.5`, `1e3`, `1E+3`, `1e-9`, `1e21`, `123456789012345678901234567890`, `1e999`,
	`""`, `"a"`, `"abcdefgh"`, `"abcdefghijklmnopq\"rstuvwxyz"`, `"\u00e9\n\t\b\f\r\/\\\""`, `"é"`, `"日本語のテキスト"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\ude00x"`, `"\ud83d\ud83d\ude00"`, `"\ud83d\u0041"`,
	"\"\xff\"", "\"a\xc3\"", "\"abcdefgh\xe2\x80\"", "\"\\n\xff\"", "\"\u2028\u2029<>&\x7f\"",
	`{"a":1,"b":[1,2,{"c":null}],"d":{"e":"f"}}`, "\t{\r\n \"a\" : [ 1 , 2 ] }\n", `{"a":1,"a":2}`, `{"":0}`, `[[[[]]],{}]`, `{"a":{}}`, `[{}]`, `[1,"x",null,true]`,
	``, ` `, `{`, `}`, `[`, `]`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{,}`, `[,]`, `[1,]`, `[1 2]`, `{"a" 1}`, `{a:1}`, `{"a":1 "b":2}`,
	`nul`, `nulL`, `tru`, `falsey`, `01`, `-`, `-a`, `1.`, `.5`, `1e`, `1e+`, `+1`, `1.e3`, `0x1`, `--1`, `1 2`, `{}{}`, `{} x`, `"`, `"a`, `"\`, `"\u`, `"\u12`, `"\u12g4"`, `"\ud83d\u"`, `"\x"`, `"\u00`,
	"\"\x00\"", "\"\n\"", "\"\x1f\"", "\"\\n\x01\"", "\x00", "\xef\xbb\xbf{}", "{}\x00", "nullx", `"a"b`, `/* c */1`, `'a'`, `NaN`, "1\v",
	`{"a":[1,{"b":[2,{"c":[]}]}]}`, `[1.0,2e0,-3]`, `{"a":"b","c":"d\"","e":"\\"}`, "[\"\\u0000\"]", `[9223372036854775807,-9223372036854775808,18446744073709551615]`,
}

func decodeAny(in []byte) (any, *Reader, error) {
	r := NewReader(in)
	v := r.Any()
	return v, r, r.End()
}

// compareAny checks Any against encoding/json on one document.
func compareAny(t *testing.T, in []byte) {
	t.Helper()
	var want any
	wantErr := json.Unmarshal(in, &want)
	got, r, err := decodeAny(in)
	if valid := json.Valid(in); valid != (err == nil) {
		t.Fatalf("%q: error %v, encoding/json says %v", in, err, wantErr)
	}
	if err == nil && (wantErr == nil) != (len(r.Faults()) == 0) {
		t.Fatalf("%q: faults %v, encoding/json says %v", in, r.Faults(), wantErr)
	}
	if wantErr == nil && !reflect.DeepEqual(got, want) {
		t.Fatalf("%q: got %#v, want %#v", in, got, want)
	}
	s := NewReader(in)
	raw := s.Raw()
	if serr := s.End(); (serr == nil) != (err == nil) {
		t.Fatalf("%q: Skip says %v, Any says %v", in, serr, err)
	} else if serr == nil && string(raw) != strings.Trim(string(in), " \t\r\n") {
		t.Fatalf("%q: Raw gives %q", in, raw)
	}
	if err != nil {
		PathAt(in, r.Err().Offset) // must end
	}
}

func TestAnyAsEncodingJSON(t *testing.T) {
	for _, in := range samples {
		compareAny(t, []byte(in))
	}
}

// Strings with a special byte in each place relative to the eight-byte steps.
func TestStringAlignment(t *testing.T) {
	for _, special := range []string{`\"`, `\\`, "\xff", "é", "\x80", "\x01", `\u0041`, "\x7f", "\x1f", "¢", "!", "#", "[", "]", " "} {
		for pre := range 19 {
			for post := range 11 {
				compareAny(t, []byte(`"`+strings.Repeat("x", pre)+special+strings.Repeat("y", post)+`"`))
				compareAny(t, []byte(`["`+strings.Repeat("x", pre)+special+strings.Repeat("y", post)))
			}
		}
	}
}

func FuzzReader(f *testing.F) {
	for _, in := range samples {
		f.Add([]byte(in))
	}
	f.Fuzz(compareAny)
}

type numbers struct {
	I8  int8
	I32 int32
	I64 int64
	I   int
	U16 uint16
	U32 uint32
	U64 uint64
	F   float64
	S   string
	B   bool
}

func decodeNumbers(r *Reader, v *numbers) {
	if !r.BeginObject() {
		return
	}
	for r.NextKey() {
	again:
		switch r.Key() {
		case "I8":
			SetInt(r, &v.I8)
		case "I32":
			SetInt(r, &v.I32)
		case "I64":
			SetInt(r, &v.I64)
		case "I":
			SetInt(r, &v.I)
		case "U16":
			SetUint(r, &v.U16)
		case "U32":
			SetUint(r, &v.U32)
		case "U64":
			SetUint(r, &v.U64)
		case "F":
			v.F = r.Float64()
		case "S":
			SetString(r, &v.S)
		case "B":
			SetBool(r, &v.B)
		default:
			if r.FoldKey("I8", "I32", "I64", "I", "U16", "U32", "U64", "F", "S", "B") {
				goto again
			}
			r.Skip()
		}
	}
}

func TestTypedValues(t *testing.T) {
	values := []string{`0`, `1`, `-1`, `127`, `128`, `-128`, `-129`, `65535`, `65536`, `2147483647`, `2147483648`, `-2147483648`, `-2147483649`,
		`4294967295`, `4294967296`, `9223372036854775807`, `9223372036854775808`, `-9223372036854775808`, `-9223372036854775809`,
		`18446744073709551615`, `18446744073709551616`, `99999999999999999999999`, `1.0`, `1e2`, `-0`, `"1"`, `true`, `false`, `null`, `{}`, `[]`, `{"a":[1]}`, `"s"`}
	for _, key := range []string{"I8", "I32", "I64", "I", "U16", "U32", "U64", "S", "B"} {
		for _, val := range values {
			in := []byte(`{"` + key + `":` + val + `,"F":2.5}`)
			want := numbers{I8: 5, I32: 5, I64: 5, I: 5, U16: 5, U32: 5, U64: 5, S: "five", B: true}
			got := want
			wantErr := json.Unmarshal(in, &want)
			r := NewReader(in)
			decodeNumbers(r, &got)
			if err := r.End(); err != nil {
				t.Errorf("%s: %v", in, err)
			}
			if (wantErr == nil) != (len(r.Faults()) == 0) {
				t.Errorf("%s: faults %v, encoding/json says %v", in, r.Faults(), wantErr)
			}
			if got != want {
				t.Errorf("%s: got %+v, want %+v", in, got, want)
			}
		}
	}
}

func TestFoldedKeys(t *testing.T) {
	for _, in := range []string{`{"i8":3}`, `{"I8":1,"i8":2}`, `{"i8":2,"I8":1}`, `{"ſ":"long s"}`, `{"s":"x"}`, `{"i64":9,"other":[{}],"U16 ":7}`, `{"\u0049":4}`} {
		var want, got numbers
		if err := json.Unmarshal([]byte(in), &want); err != nil {
			t.Fatal(err)
		}
		r := NewReader([]byte(in))
		decodeNumbers(r, &got)
		if err := r.End(); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", in, got, err, want)
		}
	}
}

// All type faults of a document are kept, each with its path, and the rest of
// the document is still read.
func TestFaults(t *testing.T) {
	in := `{"I8": 300, "deep": {"I": 1}, "B": "yes", "U16": -1, "S": {"x": 1}, "I32": 1.5, "F": [1], "I64": "` + strings.Repeat("z", 60) + `", "U64": 7}`
	r := NewReader([]byte(in))
	var v numbers
	decodeNumbers(r, &v)
	if err := r.End(); err != nil {
		t.Fatal(err)
	}
	if v.U64 != 7 {
		t.Errorf("value after the faults: %d", v.U64)
	}
	var got []string
	for _, f := range r.Faults() {
		got = append(got, f.Path([]byte(in))+": "+f.Msg)
	}
	want := []string{
		"I8: must be a whole number that fits 8 bits (got 300)",
		`B: must be true or false (got "yes")`,
		"U16: must not be negative (got -1)",
		"S: must be a string (got an object)",
		"I32: must be a whole number (got 1.5)",
		"F: must be a number (got an array)",
		"I64: must be a whole number (got a string)",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestManyFaults(t *testing.T) {
	r := NewReader([]byte("[" + strings.Repeat(`1,`, 100000) + `"last"]`))
	if a := r.Strings(); len(a) != 100001 || a[100000] != "last" || r.End() != nil || len(r.Faults()) != maxFaults {
		t.Error(len(a), r.End(), len(r.Faults()))
	}
}

func TestSyntaxErrors(t *testing.T) {
	tests := []struct{ in, err, path string }{
		{"", "line 1, column 1: expected a value, found end of input", ""},
		{"{\n  \"a\": 1,\n  \"b\": [1, x]\n}", "line 3, column 12: expected a value, found 'x'", "b[1]"},
		{"{\"é\": }", "line 1, column 7: expected a value, found '}'", `["é"]`},
		{`{"a":{"b":[{"c":1},{"d" 1}]}}`, "line 1, column 25: expected ':' after a key, found '1'", "a.b[1]"},
		{`{"a":1,}`, "line 1, column 8: trailing comma in object", ""},
		{`[1,]`, "line 1, column 4: trailing comma in array", ""},
		{`{"a":1 "b":2}`, "line 1, column 8: expected ',' or '}' in object, found '\"'", ""},
		{`{a:1}`, "line 1, column 2: expected a key in double quotes, found 'a'", ""},
		{`{} {}`, "line 1, column 4: unexpected '{' after the end of the document", ""},
		{`{"a":"x`, "line 1, column 8: a string has no closing quote", "a"},
		{"{\"a\":\"x\ny\"}", "line 1, column 8: a string holds an unescaped control character ('\\n')", "a"},
		{`{"a":"\q"}`, "line 1, column 8: unknown escape in a string: '\\' before 'q'", "a"},
		{`{"a":tru}`, "line 1, column 9: expected true, found '}'", "a"},
		{`{"a":-}`, "line 1, column 7: expected a digit, found '}'", "a"},
		{"\xef\xbb\xbf{}", "line 1, column 1: expected a value, found a byte order mark", ""},
		{"[\xff]", "line 1, column 2: expected a value, found byte 0xff", "[0]"},
	}
	for _, tt := range tests {
		r := NewReader([]byte(tt.in))
		r.Skip()
		err := r.End()
		if err == nil || err.Error() != tt.err {
			t.Errorf("%q: got error %v, want %s", tt.in, err, tt.err)
			continue
		}
		if path := PathAt([]byte(tt.in), r.Err().Offset); path != tt.path {
			t.Errorf("%q: got path %q, want %q", tt.in, path, tt.path)
		}
	}
}

func TestNesting(t *testing.T) {
	for _, n := range []int{maxDepth, maxDepth + 1} {
		for _, in := range []string{strings.Repeat("[", n) + strings.Repeat("]", n), strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n)} {
			compareAny(t, []byte(in))
		}
	}
	compareAny(t, []byte(strings.Repeat("[", 1000000)))
}

func TestPullHelpers(t *testing.T) {
	in := `{"a":["x","y",null],"m":{"k":"v","l":"w"},"n":null,"f":1.5e3,"e":[],"o":{"i":-3,"u":18446744073709551615},"arr":[1,2,3]}`
	r := NewReader([]byte(in))
	var a, e []string
	var m map[string]string
	var f float64
	var i int64
	var u uint64
	sum, null := int64(0), false
	r.Object(func(key string) {
		switch key {
		case "a":
			a = r.Strings()
		case "e":
			e = r.Strings()
		case "m":
			m = r.StringMap(map[string]string{"k": "old", "z": "kept"})
		case "n":
			null = r.Null()
		case "f":
			f = r.Float64()
		case "o":
			r.Object(func(key string) {
				if key == "i" {
					i = r.Int64()
				} else {
					u = r.Uint64()
				}
			})
		case "arr":
			r.Array(func(n int) { sum += int64(n) * r.Int64() })
		}
	})
	if err := r.End(); err != nil || len(r.Faults()) > 0 {
		t.Fatal(err, r.Faults())
	}
	if !reflect.DeepEqual(a, []string{"x", "y", ""}) || e == nil || len(e) != 0 || !reflect.DeepEqual(m, map[string]string{"k": "v", "l": "w", "z": "kept"}) ||
		!null || f != 1500 || i != -3 || u != math.MaxUint64 || sum != 8 {
		t.Error(a, e, m, null, f, i, u, sum)
	}
}

func BenchmarkSkip(b *testing.B) {
	doc := []byte(`[` + strings.Repeat(`{"names":["accept4","clock_gettime64","rt_sigprocmask"],"action":"SCMP_ACT_ALLOW","n":12345},`, 200) + `null]`)
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		r := NewReader(doc)
		r.Skip()
		if r.End() != nil {
			b.Fatal(r.Err())
		}
	}
}
