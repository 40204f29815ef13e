package libvserver

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/state"
)

func TestMountOf(t *testing.T) {
	mounts := host.ParseMounts(`22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:26 /group /part rw - resctrl resctrl rw
31 22 0:26 / /odd\040place rw,relatime shared:2 - resctrl resctrl rw,mba_MBps
32 22 0:27 / /cut
`)
	if got := mountOf("resctrl", mounts); got != "/odd place" {
		t.Errorf("resctrl on %q", got)
	}
	if got := mountOf("none", mounts); got != "" {
		t.Errorf("a filesystem that is not mounted is on %q", got)
	}
}

// TestExecRdt: a process of exec joins the class of service and then the monitoring group; what can't be opened is an error.
func TestExecRdt(t *testing.T) {
	dir := t.TempDir()
	mon := dir + "/mon_groups/c"
	if err := os.MkdirAll(mon, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, mon} {
		if err := os.WriteFile(d+"/tasks", nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e := &execution{}
	e.rec = &state.Record{IntelRdtPath: dir}
	l := launched{RdtMon: mon}
	l.save(e.rec)
	var in execCgroups
	in.v2 = -1
	defer func() { in.close() }()
	if err := e.openRdt(&in); err != nil {
		t.Fatal(err)
	}
	if len(in.tasks) != 2 {
		t.Fatalf("%d files of tasks, want 2", len(in.tasks))
	}
	for i, d := range []string{dir, mon} {
		var a, b unix.Stat_t
		if unix.Fstat(in.tasks[i], &a) != nil || unix.Stat(d+"/tasks", &b) != nil || a.Ino != b.Ino {
			t.Errorf("file %d is not %s/tasks", i, d)
		}
	}
	if err := os.RemoveAll(mon); err != nil {
		t.Fatal(err)
	}
	if err := e.openRdt(&in); err != nil || len(in.tasks) != 3 {
		t.Errorf("a group that is gone: %v, %d files", err, len(in.tasks))
	}
	if err := os.Remove(dir + "/tasks"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir+"/tasks", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := e.openRdt(&in); err == nil {
		t.Error("what can't be opened is no error")
	}
}
