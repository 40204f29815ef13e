package libvserver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/spec/wire"
)

// rdtStats prints the figures of a container's class of service in resctrl as runc's events have them (intel_rdt): what
// the cache and the memory bandwidth allow, and what monitoring counts. root is where resctrl is mounted; monitor may be
// "", then the group's own counters are taken, which others may share.
func rdtStats(root, group, monitor string) ([]byte, error) {
	r := rdtReader{Writer: wire.NewWriter(nil, "")}
	all := strings.Split(r.text(root+"/schemata"), "\n")
	own := strings.Split(r.text(group+"/schemata"), "\n")
	r.BeginObject()
	if info := root + "/info/L3"; exists(info) {
		r.Key("l3_cache_info")
		r.BeginObject()
		r.Key("cbm_mask")
		r.String(r.text(info + "/cbm_mask"))
		r.numbers(info, "min_cbm_bits", "num_closids")
		r.EndObject()
		r.schema("l3_cache_schema_root", "L3", all)
		r.schema("l3_cache_schema", "L3", own)
	}
	if info := root + "/info/MB"; exists(info) {
		r.Key("mem_bw_info")
		r.BeginObject()
		r.numbers(info, "bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids")
		r.EndObject()
		r.schema("mem_bw_schema_root", "MB", all)
		r.schema("mem_bw_schema", "MB", own)
	}
	r.Key("schemata")
	r.Strings(own)
	if info := root + "/info/L3_MON"; exists(info) {
		if monitor == "" {
			monitor = group
		}
		r.monitored(monitor+"/mon_data", strings.Fields(r.text(info+"/mon_features")))
	}
	r.EndObject()
	if r.err != nil {
		return nil, fmt.Errorf("unable to get container Intel RDT stats: %w", r.err)
	}
	return r.Bytes(), nil
}

func exists(path string) bool { return unix.Access(path, unix.F_OK) == nil }

// rdtReader prints what it reads, and keeps the first error.
type rdtReader struct {
	*wire.Writer
	err error
}

func (r *rdtReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *rdtReader) text(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		r.fail(err)
	}
	return strings.TrimSpace(string(b))
}

func (r *rdtReader) number(path string) uint64 {
	s := r.text(path)
	if s == "Unavailable" { // a counter that has been given to another group meanwhile (x86/resctrl.rst)
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil && r.err == nil {
		r.fail(fmt.Errorf("%s: %q is no number", path, s))
	}
	return n
}

// numbers prints files that hold one each; some are not on every machine.
func (r *rdtReader) numbers(dir string, names ...string) {
	for _, name := range names {
		if exists(dir + "/" + name) {
			r.Key(name)
			r.Uint(r.number(dir + "/" + name))
		}
	}
}

// schema prints the last line that is about a resource.
func (r *rdtReader) schema(key, resource string, lines []string) {
	found := ""
	for _, l := range lines {
		if strings.Contains(l, resource) {
			found = strings.TrimSpace(l)
		}
	}
	if found != "" {
		r.Key(key)
		r.String(found)
	}
}

// monitored prints an element for each domain of the last-level cache.
func (r *rdtReader) monitored(dir string, features []string) {
	domains, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.fail(err)
	}
	has := func(name string) bool {
		for _, f := range features {
			if f == name {
				return true
			}
		}
		return false
	}
	list := func(key string, names ...string) {
		wanted := false
		for _, n := range names {
			wanted = wanted || has(n)
		}
		if !wanted {
			return
		}
		r.Key(key)
		r.BeginArray()
		for _, d := range domains {
			if !d.IsDir() {
				continue
			}
			r.BeginObject()
			for _, n := range names {
				r.Key(n)
				if has(n) {
					r.Uint(r.number(dir + "/" + d.Name() + "/" + n))
				} else {
					r.Uint(0)
				}
			}
			r.EndObject()
		}
		r.EndArray()
	}
	list("mbm_stats", "mbm_total_bytes", "mbm_local_bytes")
	list("cmt_stats", "llc_occupancy")
}
