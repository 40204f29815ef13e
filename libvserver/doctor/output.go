package doctor

import "github.com/vsrun/vsrun/spec/wire"

// appendText appends the report for people. Each line has its verdict as a mark
// and as a word, on a terminal or not.
func appendText(b []byte, checks []Check, ok bool) []byte {
	section := ""
	var failed []string
	for i := range checks {
		c := &checks[i]
		if c.Section != section {
			if section != "" {
				b = append(b, '\n')
			}
			section = c.Section
			b = append(append(b, section...), '\n')
		}
		mark := "  ✓ ok       "
		switch c.Verdict {
		case Lacking:
			mark = "  ! lacking  "
		case Failed:
			mark = "  ✗ FAILED   "
			failed = append(failed, c.Name)
		}
		b = append(append(b, mark...), c.Name...)
		if c.Detail != "" {
			b = append(append(b, ": "...), c.Detail...)
		}
		b = append(b, '\n')
		if c.Verdict != OK && c.Advice != "" {
			b = append(b, "               "...)
			b = append(append(b, c.Advice...), '\n')
		}
	}
	b = append(b, '\n')
	if ok {
		return append(b, "A plain bundle can run here.\n"...)
	}
	b = append(b, "A plain bundle cannot run here, because of: "...)
	for i, name := range failed {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, name...)
	}
	return append(b, ".\n"...)
}

// appendJSON appends the report as one object:
// {"ok":true,"checks":[{"section","name","verdict","detail"?,"since"?,"advice"?}]}.
func appendJSON(b []byte, checks []Check, ok bool) []byte {
	w := wire.NewWriter(b, "  ")
	optional := func(key, v string) {
		if v != "" {
			w.Key(key)
			w.String(v)
		}
	}
	w.BeginObject()
	w.Key("ok")
	w.Bool(ok)
	w.Key("checks")
	w.BeginArray()
	for i := range checks {
		c := &checks[i]
		w.BeginObject()
		w.Key("section")
		w.String(c.Section)
		w.Key("name")
		w.String(c.Name)
		w.Key("verdict")
		w.String(c.Verdict.String())
		optional("detail", c.Detail)
		optional("since", c.Since)
		if c.Verdict != OK {
			optional("advice", c.Advice)
		}
		w.EndObject()
	}
	w.EndArray()
	w.EndObject()
	return append(w.Bytes(), '\n')
}
