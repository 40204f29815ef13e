package state

import (
	"bytes"
	"errors"
	"strconv"
	"time"

	"github.com/vsrun/vsrun/spec/wire"
)

// The keys at the top are those of runc's state.json, which tools peek at; what
// is ours alone is under "vsrun"; "config" is last, so that a reader can stop
// before it. It is config.json as it was, not runc's own form of it.

// namespaces are the keys of namespace_paths and the files in /proc/PID/ns.
var namespaces = [...][2]string{
	{"NEWCGROUP", "cgroup"}, {"NEWIPC", "ipc"}, {"NEWNET", "net"}, {"NEWNS", "mnt"},
	{"NEWPID", "pid"}, {"NEWTIME", "time"}, {"NEWUSER", "user"}, {"NEWUTS", "uts"},
}

// encode returns the record as JSON.
func (r *Record) encode() []byte {
	w := wire.NewWriter(make([]byte, 0, 2048+len(r.Config)), "")
	w.BeginObject()
	w.Key("id")
	w.String(r.ID)
	w.Key("init_process_pid")
	w.Int(int64(r.InitPid))
	w.Key("init_process_start")
	w.Uint(r.InitStart)
	w.Key("created")
	w.String(formatTime(r.Created))
	w.Key("rootless")
	w.Bool(r.Rootless)
	w.Key("cgroup_paths")
	w.StringMap(r.CgroupPaths)
	w.Key("namespace_paths")
	r.encodeNamespaces(w)
	w.Key("external_descriptors")
	w.Strings(r.ExternalDescriptors)
	w.Key("intel_rdt_path")
	w.String(r.IntelRdtPath)
	w.Key("vsrun")
	r.encodeOwn(w)
	if len(r.Config) > 0 {
		w.Key("config")
		return append(append(w.Bytes(), bytes.TrimSpace(r.Config)...), "}\n"...)
	}
	w.EndObject()
	return append(w.Bytes(), '\n')
}

func (r *Record) encodeNamespaces(w *wire.Writer) {
	if r.InitPid == 0 {
		w.Null()
		return
	}
	dir := "/proc/" + strconv.Itoa(r.InitPid) + "/ns/"
	w.BeginObject()
	for i := range namespaces {
		w.Key(namespaces[i][0])
		w.String(dir + namespaces[i][1])
	}
	w.EndObject()
}

func (r *Record) encodeOwn(w *wire.Writer) {
	flag := func(key string, v bool) {
		if v {
			w.Key(key)
			w.Bool(true)
		}
	}
	w.BeginObject()
	flag("creating", r.Creating)
	w.Key("ociVersion")
	w.String(r.OCIVersion)
	w.Key("bundle")
	w.String(r.Bundle)
	w.Key("rootfs")
	w.String(r.Rootfs)
	if len(r.Annotations) > 0 {
		w.Key("annotations")
		w.StringMap(r.Annotations)
	}
	w.Key("owner")
	w.Uint(uint64(r.Owner))
	w.Key("xid")
	w.Uint(uint64(r.Xid))
	w.Key("exec_fifo")
	w.String(r.ExecFifo)
	flag("no_pivot", r.NoPivot)
	flag("systemd_cgroup", r.SystemdCgroup)
	if len(r.parts) > 0 {
		w.Key("parts")
		w.BeginObject()
		for i := range r.parts {
			w.Key(r.parts[i].name)
			w.Raw(r.parts[i].json)
		}
		w.EndObject()
	}
	w.EndObject()
}

var (
	errEmpty     = errors.New("it is empty")
	errTruncated = errors.New("it is cut off")
)

// decode reads a record from buf, which it keeps.
func decode(buf []byte) (*Record, error) {
	buf = bytes.TrimRight(buf, " \t\r\n\x00")
	if len(buf) == 0 {
		return nil, errEmpty
	}
	rec := &Record{}
	r := wire.NewReader(buf)
	if r.BeginObject() {
		for r.NextKey() {
			if r.Key() == "config" {
				// What follows is one document and the brace that ends the record.
				if buf[len(buf)-1] != '}' {
					return nil, errTruncated
				}
				rec.Config = bytes.TrimSpace(buf[r.Offset() : len(buf)-1])
				return rec, faults(rec, r)
			}
			rec.decodeKey(r)
		}
	}
	if err := r.End(); err != nil {
		return nil, err
	}
	return rec, faults(rec, r)
}

// faults turns what a hand may have done to the file into an error.
func faults(rec *Record, r *wire.Reader) error {
	if f := r.Faults(); len(f) > 0 {
		return errors.New(f[0].Msg)
	}
	if rec.ID == "" {
		return errors.New("it has no id")
	}
	return nil
}

func (rec *Record) decodeKey(r *wire.Reader) {
	switch r.Key() {
	case "id":
		rec.ID = r.String()
	case "init_process_pid":
		wire.SetInt(r, &rec.InitPid)
	case "init_process_start":
		rec.InitStart = r.Uint64()
	case "created":
		off := r.Offset()
		t, err := time.Parse(time.RFC3339Nano, r.String())
		if err != nil {
			r.Fault(off, `"created" is no time`)
		}
		rec.Created = t
	case "rootless":
		rec.Rootless = r.Bool()
	case "cgroup_paths":
		rec.CgroupPaths = r.StringMap(nil)
	case "external_descriptors":
		rec.ExternalDescriptors = r.Strings()
	case "intel_rdt_path":
		rec.IntelRdtPath = r.String()
	case "vsrun":
		if r.BeginObject() {
			for r.NextKey() {
				rec.decodeOwn(r)
			}
		}
	default:
		r.Skip()
	}
}

func (rec *Record) decodeOwn(r *wire.Reader) {
	switch r.Key() {
	case "creating":
		rec.Creating = r.Bool()
	case "ociVersion":
		rec.OCIVersion = r.String()
	case "bundle":
		rec.Bundle = r.String()
	case "rootfs":
		rec.Rootfs = r.String()
	case "annotations":
		rec.Annotations = r.StringMap(nil)
	case "owner":
		wire.SetUint(r, &rec.Owner)
	case "xid":
		wire.SetUint(r, &rec.Xid)
	case "exec_fifo":
		rec.ExecFifo = r.String()
	case "no_pivot":
		rec.NoPivot = r.Bool()
	case "systemd_cgroup":
		rec.SystemdCgroup = r.Bool()
	case "parts":
		if r.BeginObject() {
			for r.NextKey() {
				name := r.Key()
				rec.parts = append(rec.parts, part{name, r.Raw()})
			}
		}
	default:
		r.Skip()
	}
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
