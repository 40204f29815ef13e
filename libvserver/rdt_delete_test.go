package libvserver

import (
	"os"
	"path"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/libvserver/state"
)

// TestDeleteRdt: what goes from resctrl with a container, and what stays. Groups are empty directories here, as only the
// kernel removes one with its files.
func TestDeleteRdt(t *testing.T) {
	for _, c := range []struct {
		name   string
		cfg    specs.LinuxIntelRdt
		before string // a group that is there before the container
		stays  bool
	}{
		{"made for the container", specs.LinuxIntelRdt{L3CacheSchema: "L3:0=f"}, "", false},
		{"made, with monitoring", specs.LinuxIntelRdt{EnableMonitoring: true}, "", false},
		{"of that name before", specs.LinuxIntelRdt{}, "c1", true},
		{"closID, made", specs.LinuxIntelRdt{ClosID: "gold", L3CacheSchema: "L3:0=f"}, "", true},
		{"closID, there before", specs.LinuxIntelRdt{ClosID: "gold"}, "gold", true},
		{"closID, with monitoring", specs.LinuxIntelRdt{ClosID: "gold", EnableMonitoring: true}, "gold", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			if c.before != "" {
				fillGroup(t, root+"/"+c.before)
			}
			store, err := state.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			r := &Runtime{Store: store, CgroupDisabled: true}
			dir, err := store.Reserve("c1")
			if err != nil {
				t.Fatal(err)
			}
			g, err := newRdtGroup(root, &c.cfg, "c1")
			if err != nil {
				t.Fatal(err)
			}
			if g.mon != "" {
				g.mon = g.dir + "/" + path.Base(g.mon) // not in mon_groups, which would be in the way
				defer func() {
					if _, err := os.Stat(g.mon); err == nil {
						t.Errorf("the monitoring group %s is still there", g.mon)
					}
				}()
			}
			rec := &state.Record{ID: "c1", Created: time.Now(), Bundle: "/b", IntelRdtPath: g.dir, InitPid: 1, InitStart: 1, Owner: uint32(os.Geteuid())}
			var l launched
			l.RdtMon, l.RdtGroup = g.goes()
			l.save(rec)
			if err := dir.Save(rec); err != nil {
				t.Fatal(err)
			}
			dir.Unlock()
			for _, d := range []string{g.dir, g.mon} {
				if err := os.MkdirAll(d, 0o755); d != "" && err != nil {
					t.Fatal(err)
				}
			}
			if err := r.Delete("c1", false); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(g.dir); (err == nil) != c.stays {
				t.Errorf("%s: %v", g.dir, err)
			}
		})
	}
}
