package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/vsrun/vsrun/libvserver"
)

// TestCheckpointFlags: every flag of checkpoint and restore arrives where it belongs.
func TestCheckpointFlags(t *testing.T) {
	const all = "--tcp-established --ext-unix-sk --shell-job --lazy-pages --file-locks --manage-cgroups-mode full " +
		"--network-lock skip --empty-ns network --auto-dedup --image-path I --work-path W "
	shared := libvserver.CriuOptions{
		ImagePath: "I", WorkPath: "W", TCPEstablished: true, ExtUnixSk: true, ShellJob: true, FileLocks: true, AutoDedup: true,
		LazyPages: true, ManageCgroupsMode: "full", NetworkLock: "skip", EmptyNS: []string{"network"},
	}
	var f checkpoints
	f.status = 7
	for _, line := range []string{
		"checkpoint a",
		"checkpoint " + all + "--parent-path P --leave-running --tcp-skip-in-flight --link-remap --pre-dump --status-fd 9 --page-server h:1 a",
	} {
		if _, _, err := calledOn(&f, strings.Fields(line)...); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	wantDumps := []libvserver.CheckpointOptions{
		{ID: "a", StatusFD: -1},
		{ID: "a", CriuOptions: shared, ParentPath: "P", LeaveRunning: true, TCPSkipInFlight: true, LinkRemap: true, PreDump: true, StatusFD: 9, PageServer: "h:1"},
	}
	if d := cmp.Diff(wantDumps, f.dumps); d != "" {
		t.Error(d)
	}
	for _, line := range []string{
		"restore a",
		// One dash, as containerd writes it.
		"restore " + all + "--console-socket C -b B -d --pid-file F -no-subreaper --no-pivot --lsm-profile L --lsm-mount-context M --tcp-close a",
	} {
		if _, status, err := calledOn(&f, strings.Fields(line)...); err != nil || status != 7 {
			t.Errorf("%s: %d, %v", line, status, err)
		}
	}
	wantRestores := []libvserver.RestoreOptions{
		{RunOptions: libvserver.RunOptions{CreateOptions: libvserver.CreateOptions{ID: "a"}}},
		{
			RunOptions: libvserver.RunOptions{
				CreateOptions: libvserver.CreateOptions{ID: "a", Bundle: "B", ConsoleSocket: "C", PidFile: "F", NoPivot: true},
				Detach:        true, NoSubreaper: true,
			},
			CriuOptions: shared, LSMProfile: "L", LSMMountContext: "M", TCPClose: true,
		},
	}
	if d := cmp.Diff(wantRestores, f.restores); d != "" {
		t.Error(d)
	}
}

// checkpoints keeps the options whole.
type checkpoints struct {
	fake
	dumps    []libvserver.CheckpointOptions
	restores []libvserver.RestoreOptions
}

func (c *checkpoints) Checkpoint(o *libvserver.CheckpointOptions) error {
	o.Progress = nil
	c.dumps = append(c.dumps, *o)
	return nil
}

func (c *checkpoints) Restore(o *libvserver.RestoreOptions) (int, error) {
	c.restores = append(c.restores, *o)
	return c.status, nil
}

// TestProbes: what engines call to find out about checkpoints.
func TestProbes(t *testing.T) {
	out, status, err := called(new(fake), "checkpoint", "--help")
	if err != nil || status != 0 || !strings.Contains(out, "--image-path") {
		t.Errorf("%d, %v, %q", status, err, out)
	}
	_, _, err = called(new(fake), "restore", "--lsm-mount-context")
	if err == nil || !strings.Contains(err.Error(), "flag needs an argument") {
		t.Errorf("%v", err)
	}
}

func TestProgressLine(t *testing.T) {
	for want, d := range map[string]libvserver.Dumped{
		"\r\x1b[K12 of 1000 pages dumped, 1.50 s": {Pages: 12, Total: 1000, Elapsed: 1500 * time.Millisecond},
		"\r\x1b[K900 pages dumped, 100 unchanged in 2.00 s, the container stood still for 0.25 s\n": {
			Pages: 900, Skipped: 100, Elapsed: 2 * time.Second, Frozen: 250 * time.Millisecond, Done: true},
		"\r\x1b[K1 pages dumped in 0.00 s\n": {Pages: 1, Done: true},
	} {
		if got := progressLine(&d); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
