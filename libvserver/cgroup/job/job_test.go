package job

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/cgroups"
	"github.com/sirupsen/logrus"
)

// The golden files are what encoding/json makes of the types of runc, see statistics.
func TestConvert(t *testing.T) {
	full := cgroups.NewStats()
	full.CpuStats = cgroups.CpuStats{
		CpuUsage:       cgroups.CpuUsage{TotalUsage: 1, PercpuUsage: []uint64{2, 0}, PercpuUsageInKernelmode: []uint64{3}, PercpuUsageInUsermode: []uint64{4}, UsageInKernelmode: 5, UsageInUsermode: 6},
		ThrottlingData: cgroups.ThrottlingData{Periods: 7, ThrottledPeriods: 8, ThrottledTime: 9},
		PSI:            &cgroups.PSIStats{Some: cgroups.PSIData{Avg10: 0.5, Avg60: 12.34, Avg300: 100, Total: 1 << 60}},
	}
	full.CPUSetStats = cgroups.CPUSetStats{CPUs: []uint16{0, 65535}, CPUExclusive: 1, Mems: []uint16{0}, MemHardwall: 2, MemExclusive: 3,
		MemoryMigrate: 4, MemorySpreadPage: 5, MemorySpreadSlab: 6, MemoryPressure: 7, SchedLoadBalance: 8, SchedRelaxDomainLevel: -1}
	full.MemoryStats = cgroups.MemoryStats{Cache: 1, Usage: cgroups.MemoryData{Usage: 2, MaxUsage: 3, Failcnt: 4, Limit: 1<<63 - 4096},
		SwapUsage: cgroups.MemoryData{Usage: 5}, KernelUsage: cgroups.MemoryData{MaxUsage: 6}, KernelTCPUsage: cgroups.MemoryData{Failcnt: 7},
		Stats: map[string]uint64{"z": 1, "anon": 0, "file": 1<<64 - 1}, PSI: &cgroups.PSIStats{}}
	full.PidsStats = cgroups.PidsStats{Current: 1, Limit: 2}
	list := func(n uint64) []cgroups.BlkioStatEntry {
		return []cgroups.BlkioStatEntry{{Major: n, Minor: 0, Op: "Read", Value: n}, {Minor: n}}
	}
	full.BlkioStats = cgroups.BlkioStats{IoServiceBytesRecursive: list(1), IoServicedRecursive: list(2), IoQueuedRecursive: list(3),
		IoServiceTimeRecursive: list(4), IoWaitTimeRecursive: list(5), IoMergedRecursive: list(6), IoTimeRecursive: list(7), SectorsRecursive: list(8)}
	full.HugetlbStats = map[string]cgroups.HugetlbStats{"2MB": {Usage: 1, MaxUsage: 2, Failcnt: 3}, "1GB": {}}

	for name, s := range map[string]*cgroups.Stats{"full": full, "empty": cgroups.NewStats()} {
		want, err := os.ReadFile("testdata/stats-" + name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(convert(s))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), string(got)+"\n"); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestProperties(t *testing.T) {
	props, err := properties([][2]string{
		{"TimeoutStopUSec", "uint64 5000000"},
		{"CollectMode", "'inactive-or-failed'"},
		{"TimeoutAbortSec", "int32 2"},
		{"RuntimeMaxSec", "1.5"},
		{"Sec", "1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, p := range props {
		got = append(got, p.Name+" "+p.Value.String())
	}
	for _, p := range []struct {
		name  string
		value any
	}{{"TimeoutStopUSec", uint64(5000000)}, {"CollectMode", "inactive-or-failed"}, {"TimeoutAbortUSec", uint64(2000000)}, {"RuntimeMaxUSec", uint64(1500000)}, {"Sec", int32(1)}} {
		want = append(want, p.name+" "+dbus.MakeVariant(p.value).String())
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for name, c := range map[string]struct{ val, err string }{
		"CPUWeight":  {"blah", `annotations["org.systemd.property.CPUWeight"]: "blah": `},
		"RestartSec": {"'x'", "not a number of seconds"},
	} {
		if _, err := properties([][2]string{{name, c.val}}); err == nil || !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, want %q", name, err, c.err)
		}
	}
}

func TestDeviceProperties(t *testing.T) {
	if got := (&request{}).deviceProperties(); got != nil {
		t.Error(got)
	}
	r := request{DevicePolicy: "strict", DeviceAllow: [][2]string{{"char-*", "m"}, {"/dev/char/1:3", "rwm"}}}
	got := ""
	for _, p := range r.deviceProperties() {
		got += fmt.Sprintf("%s=%v %s ", p.Name, p.Value.Value(), p.Value.Signature())
	}
	if want := `DevicePolicy=strict s DeviceAllow=[{char-* m} {/dev/char/1:3 rwm}] a(ss) `; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestRun(t *testing.T) {
	for _, name := range []string{"", "seccomp", "systemd"} {
		if Known(name) {
			t.Error(name)
		}
		if _, err := Run(name, []byte("{}")); err == nil {
			t.Error("no error for job", name)
		}
	}
	if _, err := Run("systemd-check", []byte("{")); err == nil || !strings.HasPrefix(err.Error(), "systemd-check request: ") {
		t.Error(err)
	}
	t.Setenv("VSRUN_TEST_JOB", "")
	for request, want := range map[string]string{
		`{"env":["VSRUN_TEST_JOB=a=b"],"properties":[["TasksMax","1"]]}`: `{}`,
		`{"properties":[["TasksMax","x y"]]}`:                            `{"error":"annotations[\"org.systemd.property.TasksMax\"]: `,
	} {
		got, err := Run("systemd-check", []byte(request))
		if err != nil || !strings.HasPrefix(string(got), want) {
			t.Errorf("%s: %s %v, want %s", request, got, err, want)
		}
	}
	if got := os.Getenv("VSRUN_TEST_JOB"); got != "a=b" {
		t.Errorf("environment: %q", got)
	}
	// Without a bus a unit can't be started, and the answer says so.
	got, err := Run("systemd-apply", []byte(`{"layout":"v2","paths":{"":"/sys/fs/cgroup/x.scope"},"unit":["","x","y"],"pid":1,
		"env":["DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nonexistent"]}`))
	if _, serr := os.Stat("/run/systemd/private"); serr == nil {
		t.Skip("the rest is for hosts without systemd")
	}
	var out envelope
	if err != nil || json.Unmarshal(got, &out) != nil || !strings.HasPrefix(out.Error, "start it around process 1: ") || out.Answer != nil {
		t.Errorf("%s %v", got, err)
	}
}

func TestLog(t *testing.T) {
	var out envelope
	if _, err := Run("systemd-check", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{})
	logrus.AddHook(&out)
	logrus.Debug("not wanted")
	logrus.Warn("unable")
	logrus.WithError(os.ErrNotExist).Error("version")
	if d := cmp.Diff([]line{{"warning", "unable"}, {"error", "version: file does not exist"}}, out.Log); d != "" {
		t.Error(d)
	}
}
