package libvserver

import "testing"

func TestEventJSON(t *testing.T) {
	for want, e := range map[string]Event{
		`{"type":"oom","id":"a\u003cb"}`:                    {ID: "a<b"},
		`{"type":"stats","id":"c1","data":{"cpu":{"a":1}}}`: {ID: "c1", Stats: []byte(`{"cpu":{"a":1}}`)},
	} {
		if got := string(e.AppendJSON([]byte("x "))); got != "x "+want+"\n" {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
}
