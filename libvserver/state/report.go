package state

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/spec"
	"github.com/vsrun/vsrun/spec/wire"
)

// Report is what the commands state and list print of a container. Its shape is
// runc's, which has more in it than specs.State.
type Report struct {
	OCIVersion  string
	ID          string
	Pid         int // 0 when stopped
	Status      specs.ContainerState
	Bundle      string
	Rootfs      string
	Created     time.Time
	Annotations map[string]string
	Owner       string // user name; only list fills it in, as in runc
	Xid         uint32 // 0: none
}

// Report returns a container's report; frozen is as for Status.
func (s *Store) Report(rec *Record, frozen func(*Record) bool) Report {
	status, pid := s.Status(rec, frozen)
	return Report{
		OCIVersion: rec.OCIVersion, ID: rec.ID, Pid: pid, Status: status, Bundle: rec.Bundle, Rootfs: rec.Rootfs,
		Created: rec.Created, Annotations: rec.annotations(), Xid: rec.Xid,
	}
}

// annotations are those of config.json and the context id, which may be one of
// them. Hooks get those of config.json alone: the validation suite compares
// them.
func (r *Record) annotations() map[string]string {
	if r.Xid == 0 {
		return r.Annotations
	}
	xid := strconv.FormatUint(uint64(r.Xid), 10)
	if r.Annotations[spec.XIDAnnotation] == xid {
		return r.Annotations
	}
	all := make(map[string]string, len(r.Annotations)+1)
	for k, v := range r.Annotations {
		all[k] = v
	}
	all[spec.XIDAnnotation] = xid
	return all
}

// AppendState appends the output of the command state: indented, without a
// newline at the end.
func (r *Report) AppendState(dst []byte) []byte {
	w := wire.NewWriter(dst, "  ")
	w.EscapeHTML = true
	r.write(w)
	return w.Bytes()
}

func (r *Report) write(w *wire.Writer) {
	w.BeginObject()
	w.Key("ociVersion")
	w.String(r.OCIVersion)
	w.Key("id")
	w.String(r.ID)
	w.Key("pid")
	w.Int(int64(r.Pid))
	w.Key("status")
	w.String(string(r.Status))
	w.Key("bundle")
	w.String(r.Bundle)
	w.Key("rootfs")
	w.String(r.Rootfs)
	w.Key("created")
	w.String(formatTime(r.Created))
	if len(r.Annotations) > 0 {
		w.Key("annotations")
		w.StringMap(r.Annotations)
	}
	w.Key("owner")
	w.String(r.Owner)
	w.EndObject()
}

// AppendJSON appends the output of list --format json: an array in one line,
// null when there is no container.
func AppendJSON(dst []byte, list []Report) []byte {
	if len(list) == 0 {
		return append(dst, "null\n"...)
	}
	w := wire.NewWriter(dst, "")
	w.EscapeHTML = true
	w.BeginArray()
	for i := range list {
		list[i].write(w)
	}
	w.EndArray()
	return append(w.Bytes(), '\n')
}

// AppendIDs appends the output of list --quiet: an id a line.
func AppendIDs(dst []byte, list []Report) []byte {
	for i := range list {
		dst = append(append(dst, list[i].ID...), '\n')
	}
	return dst
}

// AppendTable appends the output of list: columns three spaces apart and at
// least twelve wide, as runc's text/tabwriter has them. The last one is ours.
func AppendTable(dst []byte, list []Report) []byte {
	const columns = 7
	type row [columns]string
	rows := make([]row, 0, 1+len(list))
	rows = append(rows, row{"ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER", "XID"})
	for i := range list {
		r := &list[i]
		xid := "-"
		if r.Xid != 0 {
			xid = strconv.FormatUint(uint64(r.Xid), 10)
		}
		rows = append(rows, row{r.ID, strconv.Itoa(r.Pid), string(r.Status), r.Bundle, formatTime(r.Created), r.Owner, xid})
	}
	var width [columns - 1]int
	for c := range width {
		width[c] = 12
		for i := range rows {
			width[c] = max(width[c], utf8.RuneCountInString(rows[i][c])+3)
		}
	}
	for i := range rows {
		for c, cell := range rows[i] {
			dst = append(dst, cell...)
			if c < len(width) {
				for n := utf8.RuneCountInString(cell); n < width[c]; n++ {
					dst = append(dst, ' ')
				}
			}
		}
		dst = append(dst, '\n')
	}
	return dst
}

// SpecState returns the state that runtime-spec defines, which hooks and
// seccomp agents are given. The pid is as the reader is to see it.
func (r *Record) SpecState(status specs.ContainerState, pid int) specs.State {
	return specs.State{
		Version: r.OCIVersion, ID: r.ID, Status: status, Pid: pid, Bundle: r.Bundle, Annotations: r.Annotations,
	}
}

// AppendSpecState appends a state as json.Marshal prints it.
func AppendSpecState(dst []byte, st *specs.State) []byte {
	w := wire.NewWriter(dst, "")
	w.EscapeHTML = true
	WriteSpecState(w, st)
	return w.Bytes()
}

// WriteSpecState prints a state as a part of a larger document.
func WriteSpecState(w *wire.Writer, st *specs.State) {
	w.BeginObject()
	w.Key("ociVersion")
	w.String(st.Version)
	w.Key("id")
	w.String(st.ID)
	w.Key("status")
	w.String(string(st.Status))
	if st.Pid != 0 {
		w.Key("pid")
		w.Int(int64(st.Pid))
	}
	w.Key("bundle")
	w.String(st.Bundle)
	if len(st.Annotations) > 0 {
		w.Key("annotations")
		w.StringMap(st.Annotations)
	}
	w.EndObject()
}
