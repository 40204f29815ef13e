package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vsrun/vsrun/libvserver"
	"github.com/vsrun/vsrun/libvserver/cgroup"
	"github.com/vsrun/vsrun/libvserver/netcontext"
	"github.com/vsrun/vsrun/spec"
	"github.com/vsrun/vsrun/spec/wire"
)

func (f *fake) Pause(id string) error  { return f.call("pause %q", id) }
func (f *fake) Resume(id string) error { return f.call("resume %q", id) }
func (f *fake) Update(o *libvserver.UpdateOptions) error {
	w := wire.NewWriter(nil, "")
	spec.EncodeLinuxResources(w, o.Resources)
	return f.call("update %q %s %q %q", o.ID, w.Bytes(), o.L3CacheSchema, o.MemBwSchema)
}
func (f *fake) Pids(id string) ([]int, error) { return []int{os.Getpid(), 7}, f.call("pids %q", id) }
func (f *fake) Processes() ([]libvserver.Process, error) {
	return []libvserver.Process{{Container: "a", PID: 7, NSPID: 1, PPID: 5, User: "root", State: 'S', Threads: 1, Command: "sh -c x"}}, f.call("processes")
}
func (f *fake) Stats(id string) (*libvserver.Event, error) {
	return &libvserver.Event{ID: id}, f.call("stats %q", id)
}
func (f *fake) Events(id string, interval time.Duration, emit func(*libvserver.Event) error) error {
	if err := f.call("events %q %v", id, interval); err != nil {
		return err
	}
	return emit(&libvserver.Event{ID: id})
}
func (f *fake) Checkpoint(o *libvserver.CheckpointOptions) error {
	o.Progress = nil
	return f.call("checkpoint %+v", *o)
}
func (f *fake) Restore(o *libvserver.RestoreOptions) (int, error) {
	return f.status, f.call("restore %+v", *o)
}
func (f *fake) Stat(ids ...string) ([]libvserver.Stat, error) {
	return []libvserver.Stat{statOf("a", 1, 0)}, f.call("stat %q", ids)
}

func (f *fake) SweepNetContexts() (netcontext.Leftovers, error) {
	return netcontext.Leftovers{Contexts: 2, Addresses: 1, Pins: 3}, f.call("sweep net contexts")
}

func (f *fake) NetContexts() ([]libvserver.NetReport, error) {
	return []libvserver.NetReport{netReportOf()}, f.call("net contexts")
}

func (f *fake) NetContext(id string) (*libvserver.NetReport, error) {
	n := netReportOf()
	return &n, f.call("net context %q", id)
}

func netReportOf() libvserver.NetReport {
	a, _ := spec.ParseIP("10.0.0.1/24")
	a6, _ := spec.ParseIP("fd00::1")
	return libvserver.NetReport{Entry: netcontext.Entry{NID: 50000, Netns: 5, Root: "/r", ID: "a", Cgroup: "/c", Loopback: [4]byte{127, 195, 80, 1}, Addresses: []spec.IPAddress{a, a6}},
		Storage:   &netcontext.Storage{State: netcontext.StateCount | netcontext.StateLimit, Now: 3, Max: 7, Limit: 8, Hits: 2, Rewritten: 4, Denied: 1, Sources: 6},
		Listeners: []netcontext.Listener{{Protocol: "tcp6", Addr: a6, Port: 80, Any: true}}}
}

func TestNet(t *testing.T) {
	n := netReportOf()
	for _, tt := range []struct{ got, want string }{
		{string(appendNetTable(nil, []libvserver.NetReport{n, {Entry: netcontext.Entry{NID: 7, ID: "b"}, Gone: true}})),
			"  NID  ID  STATUS  LOOPBACK      SOCKETS  PEAK  LIMIT  DENIED  ADDRESSES\n" +
				"50000  a   live    127.195.80.1        3     7      8       3  10.0.0.1/24,fd00::1/128\n" +
				"    7  b   gone    -                   -     -      -       -  \n"},
		{string(appendNetText(nil, &n)), "container        a\nnid              50000\naddresses        10.0.0.1/24,fd00::1/128\nloopback         127.195.80.1\ncgroup           /c\n" +
			"netns cookie     5\nsockets          3\nsockets peak     7\nsockets limit    8\nlimit hits       2\nbinds rewritten  4\nsources set      6\ndenied           1\nlistener         tcp6 [fd00::1]:80 all\n"},
		{string(appendNetList(nil, []libvserver.NetReport{n})), `[{"nid":50000,"id":"a","root":"/r","addresses":["10.0.0.1/24","fd00::1/128"],"loopback":"127.195.80.1","cgroup":"/c","netns":5,` +
			`"sockets":{"current":3,"max":7,"limit":8,"hits":2},"bindsRewritten":4,"sourcesSet":6,"denied":1,"listeners":[{"protocol":"tcp6","address":"fd00::1","port":80,"all":true}]}]` + "\n"},
	} {
		if d := cmp.Diff(tt.want, tt.got); d != "" {
			t.Error(d)
		}
	}
}

func (f *fake) Limits(ids ...string) ([]libvserver.LimitReport, error) {
	return []libvserver.LimitReport{{ID: "a", Xid: 77, Limits: []cgroup.Limit{
		{Name: "rss", Unit: "bytes", Current: 4096, Peak: 8192, Soft: cgroup.NoLimit, Hard: 1 << 20, Hits: 3},
		{Name: "cpu", Unit: "microseconds", Soft: cgroup.NoLimit, Hard: cgroup.NoLimit},
	}}}, f.call("limits %q", ids)
}

func TestLiveCalls(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	if err := os.WriteFile(file, []byte(`{"pids":{"limit":9},"cpu":{"shares":0}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	const oom = `{"type":"oom","id":"x"}`
	for _, c := range []struct{ line, call, out, err string }{
		{"pause x", `pause "x"`, "", ""},
		{"resume x", `resume "x"`, "", ""},
		{"stat --limits", `limits []`, "ID  XID  LIMIT  CURRENT  PEAK  SOFT  HARD  HITS\n" +
			"a    77  rss       4.0K  8.0K     -  1.0M     3\na    77  cpu          -     -     -     -     0\n", ""},
		{"stat --limits -f json a", `limits ["a"]`, `[{"id":"a","xid":77,"limits":[{"name":"rss","unit":"bytes","current":4096,"max":8192,"hard":1048576,"hits":3},` +
			`{"name":"cpu","unit":"microseconds","hits":0}]}]` + "\n", ""},
		{"stat --limits --watch", "", "", "--limits and --watch exclude each other"},
		{"pause", "", "", `"pause" requires exactly 1 argument(s)`},
		{"events x", `events "x" 5s`, oom, ""},
		{"events --interval=250ms x", `events "x" 250ms`, oom, ""},
		{"events --interval 3 x", `events "x" 3s`, oom, ""}, // youki's
		{"events --stats x", `stats "x"`, oom, ""},
		{"events --interval 0 x", "", "", "duration interval must be greater than 0"},
		{"events --interval soon x", "", "", `invalid value "soon" for flag -interval: parse error`},
		{"ps --format json x", `pids "x"`, "7]\n", ""},
		{"ps x -o pid", `pids "x"`, "PID", ""},
		{"ps -f yaml x", "", "", "invalid format option"},
		{"ps", "", "ps [command options] <container-id>", `"ps" requires a minimum of 1 argument(s)`},
		{"ps --all", "processes", "root    7    -  a              1     5  S", ""},
		{"ps -a -f json", "processes", `[{"container":"a","pid":7,"nspid":1,"ppid":5,"uid":0,"state":"S"`, ""},
		{"ps --all x", "", "", `neither a container nor ps options: ["x"]`},
		{"stat", `stat []`, "running", ""},
		{"stat a b", `stat ["a" "b"]`, "running", ""},
		{"stat -f json a", `stat ["a"]`, `[{"id":"a","status":"running","pid":7,"uptime":10000000000,"processes":1,"cpu":{`, ""},
		{"stat -f x", "", "", `invalid format option "x": table or json`},
		{"stat --interval 0", "", "", "--interval must be greater than 0"},
		{"top a", `stat ["a"]`, "ID  CPU%", ""},
		{"top --sort size", "", "", `--sort: unknown key "size"`},
		{"update x", `update "x" {} "" ""`, "", ""},
		{"update --memory 64m --memory-swap -1 --memory-reservation 1k --pids-limit 5 x",
			`update "x" {"memory":{"limit":67108864,"reservation":1024,"swap":-1},"pids":{"limit":5}} "" ""`, "", ""},
		{"update --cpu-share 2 --cpu-quota 3 --cpu-period 4 --cpu-burst 5 --cpu-rt-period 6 --cpu-rt-runtime 7 --cpu-idle 1 --cpuset-cpus 0 --cpuset-mems 0 --blkio-weight 10 x",
			`update "x" {"cpu":{"shares":2,"quota":3,"burst":5,"period":4,"realtimeRuntime":7,"realtimePeriod":6,"cpus":"0","mems":"0","idle":1},"blockIO":{"weight":10}} "" ""`, "", ""},
		{"update --l3-cache-schema L3:0=f --mem-bw-schema MB:0=9 x", `update "x" {} "L3:0=f" "MB:0=9"`, "", ""},
		{"update --pids-limit 0x20 --blkio-weight 0x20 x", `update "x" {"pids":{"limit":32},"blockIO":{"weight":32}} "" ""`, "", ""},
		{"update --kernel-memory 5 x", `update "x" {} "" ""`, "", ""},
		{"update -r " + file + " --memory 1 x", `update "x" {"cpu":{"shares":0},"pids":{"limit":9}} "" ""`, "", ""},
		{"update -r /nowhere x", "", "", "--resources: open /nowhere: no such file or directory"},
		{"update --memory 1x x", "", "", "invalid value for memory: invalid size: '1x'"},
		{"update --cpu-quota x x", "", "", `invalid value for cpu-quota: strconv.ParseInt: parsing "x": invalid syntax`},
		{"update --blkio-weight 70000 x", "", "", "invalid value for blkio-weight"},
	} {
		f := &fake{}
		out, status, err := called(f, strings.Fields(c.line)...)
		if got := strings.Join(f.calls, ";"); got != c.call || status != 0 {
			t.Errorf("%s: called %s, want %s", c.line, got, c.call)
		}
		if !strings.Contains(out, c.out) {
			t.Errorf("%s: printed %q, want %q in it", c.line, out, c.out)
		}
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %v, want %q", c.line, err, c.err)
		}
	}
}

// What the runtime reports is not lost.
func TestLiveErrors(t *testing.T) {
	for _, line := range []string{"pause x", "resume x", "events x", "events --stats x", "ps x", "ps --all", "stat", "stat -w", "top", "update x"} {
		f := &fake{err: os.ErrDeadlineExceeded}
		if out, _, err := called(f, strings.Fields(line)...); err != os.ErrDeadlineExceeded || out != "" {
			t.Errorf("%s: %v, %q", line, err, out)
		}
	}
}

func TestPidsJSON(t *testing.T) {
	for want, pids := range map[string][]int{"null\n": nil, "[1]\n": {1}, "[1,22]\n": {1, 22}} {
		if d := cmp.Diff(want, string(appendPids(nil, pids))); d != "" {
			t.Error(d)
		}
	}
}
