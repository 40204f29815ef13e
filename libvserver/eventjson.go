package libvserver

import "github.com/vsrun/vsrun/spec/wire"

// AppendJSON appends an event as runc prints it: one line.
func (e *Event) AppendJSON(dst []byte) []byte {
	kind := "stats"
	if e.Stats == nil {
		kind = "oom"
	}
	dst = append(dst, `{"type":"`...)
	dst = append(dst, kind...)
	dst = append(dst, `","id":`...)
	dst = wire.AppendStringHTML(dst, e.ID)
	if e.Stats != nil {
		dst = append(dst, `,"data":`...)
		dst = append(dst, e.Stats...)
	}
	return append(dst, "}\n"...)
}
