// Package proto is what vsrun and the job "criu" of vsrun-helper say to each other while CRIU checkpoints or restores a
// container: requests and events, one JSON object a datagram on a socket of type SOCK_SEQPACKET.
//
// vsrun sends a [Request]; the helper passes it to CRIU in CRIU's own protocol and sends an [Event] for each thing that
// CRIU asks or says. A notification is answered by [Reply]; after one of the other events the helper waits for the next
// request. The end of the socket ends the helper.
//
// The package imports nothing of this project but spec/wire: both programs link it.
package proto

import (
	"errors"

	"github.com/vsrun/vsrun/spec/wire"
)

// MaxMessage is the length that no message exceeds, in bytes.
const MaxMessage = 128 << 10

// What a request asks for.
const (
	Version  = "version"
	Features = "features"
	Dump     = "dump"
	PreDump  = "pre-dump"
	Restore  = "restore"
)

// Request is what CRIU is to do.
type Request struct {
	Kind     string
	Features []string // to ask for: FeatureMemTrack, FeatureLazyPages
	Options  Options  // of dump, pre-dump and restore
	// StatsDir is where CRIU leaves its statistics of a dump, absolute; "" if nobody wants them.
	StatsDir string
}

// The names of features are those of CRIU's protocol.
const (
	FeatureMemTrack  = "mem_track"
	FeatureLazyPages = "lazy_pages"
)

// Options are those of criu_opts in CRIU's rpc.proto that the runtime has a use for, under the same names. Descriptors
// are numbers in the process that made CRIU's socket, but for those of InheritFD, which are CRIU's own.
type Options struct {
	ImagesDirFD int
	WorkDirFD   int // -1: as ImagesDirFD
	StatusFD    int // -1: none
	PID         int
	LogFile     string
	LogLevel    int
	Root        string
	ParentImg   string
	ConfigFile  string
	// CgroupsMode is soft, full, strict, ignore or "" for CRIU's default.
	CgroupsMode  string
	FreezeCgroup string
	// NetworkLock is iptables, nftables, skip or "" for CRIU's default.
	NetworkLock                 string
	LSMProfile, LSMMountContext string
	PageServer                  string // address
	PageServerPort              int
	EmptyNS                     uint64 // CLONE_NEW* flags

	LeaveRunning, TCPEstablished, TCPSkipInFlight, TCPClose bool
	LinkRemap, ExtUnixSk, ShellJob, FileLocks, AutoDedup    bool
	LazyPages, TrackMem, OrphanPtsMaster                    bool
	EvasiveDevices, RstSibling, MountsCompat                bool

	ExtMnt     []Pair // names by mount point; of restore, sources by name
	CgroupRoot []Pair // controllers and paths
	JoinNS     []Pair // kinds of namespaces and files
	External   []string
	InheritFD  []InheritFD
}

// Pair is a key and a value.
type Pair struct{ Key, Val string }

// InheritFD gives CRIU's descriptor FD for what the images know as Key.
type InheritFD struct {
	Key string
	FD  int
}

// Events.
const (
	Notify = "notify" // CRIU waits for Reply
	Done   = "done"
	Failed = "failed" // CRIU refused, or its end of the socket is gone
)

// Event is what the helper says.
type Event struct {
	Kind string

	// Notify. A descriptor that comes with the message belongs to it.
	Script string
	PID    int

	// Done.
	Version int      // major*10000 + minor*100 + sublevel
	Missing []string // features that were asked for and are not there
	Stats   Stats

	// Failed. Type is CRIU's word for what it was at, "" if it was gone.
	Type    string
	Errno   int
	Message string
}

// Stats is what CRIU has counted in a dump. Times are in microseconds.
type Stats struct {
	PagesScanned, PagesSkipped, PagesWritten uint64
	FrozenTime                               uint64
}

// member is an object's member of one of the types that messages consist of. A list of them is both halves of the codec.
type member struct {
	key string
	p   any
}

func (o *Options) members() []member {
	return []member{
		{"images_dir_fd", &o.ImagesDirFD}, {"work_dir_fd", &o.WorkDirFD}, {"status_fd", &o.StatusFD}, {"pid", &o.PID},
		{"log_file", &o.LogFile}, {"log_level", &o.LogLevel}, {"root", &o.Root}, {"parent_img", &o.ParentImg},
		{"config_file", &o.ConfigFile}, {"manage_cgroups_mode", &o.CgroupsMode}, {"freeze_cgroup", &o.FreezeCgroup},
		{"network_lock", &o.NetworkLock}, {"lsm_profile", &o.LSMProfile}, {"lsm_mount_context", &o.LSMMountContext},
		{"ps_address", &o.PageServer}, {"ps_port", &o.PageServerPort}, {"empty_ns", &o.EmptyNS},
		{"leave_running", &o.LeaveRunning}, {"tcp_established", &o.TCPEstablished}, {"tcp_skip_in_flight", &o.TCPSkipInFlight},
		{"tcp_close", &o.TCPClose}, {"link_remap", &o.LinkRemap}, {"ext_unix_sk", &o.ExtUnixSk}, {"shell_job", &o.ShellJob},
		{"file_locks", &o.FileLocks}, {"auto_dedup", &o.AutoDedup}, {"lazy_pages", &o.LazyPages}, {"track_mem", &o.TrackMem},
		{"orphan_pts_master", &o.OrphanPtsMaster}, {"evasive_devices", &o.EvasiveDevices}, {"rst_sibling", &o.RstSibling},
		{"mntns_compat_mode", &o.MountsCompat},
		{"ext_mnt", &o.ExtMnt}, {"cg_root", &o.CgroupRoot}, {"join_ns", &o.JoinNS}, {"external", &o.External},
		{"inherit_fd", &o.InheritFD},
	}
}

func (q *Request) members() []member {
	return []member{{"kind", &q.Kind}, {"features", &q.Features}, {"options", &q.Options}, {"stats_dir", &q.StatsDir}}
}

func (e *Event) members() []member {
	return []member{
		{"kind", &e.Kind}, {"script", &e.Script}, {"pid", &e.PID}, {"version", &e.Version}, {"missing", &e.Missing},
		{"pages_scanned", &e.Stats.PagesScanned}, {"pages_skipped", &e.Stats.PagesSkipped},
		{"pages_written", &e.Stats.PagesWritten}, {"frozen_time", &e.Stats.FrozenTime},
		{"type", &e.Type}, {"errno", &e.Errno}, {"message", &e.Message},
	}
}

// Encode returns the message.
func (q *Request) Encode() []byte { return encode(q.members()) }

// DecodeRequest reads a message; the error says what is wrong with it.
func DecodeRequest(b []byte) (*Request, error) {
	q := new(Request)
	return q, decode(b, q.members())
}

// Encode returns the message.
func (e *Event) Encode() []byte { return encode(e.members()) }

// DecodeEvent reads a message; the error says what is wrong with it.
func DecodeEvent(b []byte) (*Event, error) {
	e := new(Event)
	return e, decode(b, e.members())
}

// Reply answers a notification: whether CRIU is to go on.
func Reply(ok bool) []byte {
	if ok {
		return []byte("go on")
	}
	return []byte("give up")
}

// GoesOn reads a reply.
func GoesOn(b []byte) bool { return string(b) == "go on" }

func encode(list []member) []byte {
	w := wire.NewWriter(nil, "")
	putObject(w, list)
	return w.Bytes()
}

func putObject(w *wire.Writer, list []member) {
	w.BeginObject()
	for _, m := range list {
		m.put(w)
	}
	w.EndObject()
}

// put writes a member, unless it is nothing.
func (m member) put(w *wire.Writer) {
	switch p := m.p.(type) {
	case *string:
		if *p != "" {
			w.Key(m.key)
			w.String(*p)
		}
	case *int:
		if *p != 0 {
			w.Key(m.key)
			w.Int(int64(*p))
		}
	case *uint64:
		if *p != 0 {
			w.Key(m.key)
			w.Uint(*p)
		}
	case *bool:
		if *p {
			w.Key(m.key)
			w.Bool(true)
		}
	case *[]string:
		if len(*p) > 0 {
			w.Key(m.key)
			w.Strings(*p)
		}
	case *[]Pair:
		if len(*p) > 0 {
			w.Key(m.key)
			w.BeginArray()
			for _, v := range *p {
				w.Strings([]string{v.Key, v.Val})
			}
			w.EndArray()
		}
	case *[]InheritFD:
		if len(*p) > 0 {
			w.Key(m.key)
			w.BeginArray()
			for i := range *p {
				v := &(*p)[i]
				putObject(w, []member{{"key", &v.Key}, {"fd", &v.FD}})
			}
			w.EndArray()
		}
	case *Options:
		w.Key(m.key)
		putObject(w, p.members())
	}
}

func decode(b []byte, list []member) error {
	r := wire.NewReader(b)
	getObject(r, list)
	if err := r.End(); err != nil {
		return err
	}
	if f := r.Faults(); len(f) > 0 {
		return errors.New(f[0].Path(b) + ": " + f[0].Msg)
	}
	return nil
}

func getObject(r *wire.Reader, list []member) {
	r.Object(func(key string) {
		for _, m := range list {
			if m.key == key {
				m.get(r)
				return
			}
		}
		r.Skip()
	})
}

func (m member) get(r *wire.Reader) {
	switch p := m.p.(type) {
	case *string:
		*p = r.String()
	case *int:
		*p = int(r.Int64())
	case *uint64:
		*p = r.Uint64()
	case *bool:
		*p = r.Bool()
	case *[]string:
		*p = r.Strings()
	case *[]Pair:
		r.Array(func(int) {
			if s := r.Strings(); len(s) == 2 {
				*p = append(*p, Pair{s[0], s[1]})
			}
		})
	case *[]InheritFD:
		r.Array(func(int) {
			var v InheritFD
			getObject(r, []member{{"key", &v.Key}, {"fd", &v.FD}})
			*p = append(*p, v)
		})
	case *Options:
		getObject(r, p.members())
	}
}
