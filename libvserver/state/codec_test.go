package state

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func fullRecord(id string) *Record {
	rec := &Record{
		ID: id, InitPid: 4711, InitStart: 170281, Created: time.Date(2026, 1, 2, 3, 4, 5, 600700800, time.UTC), Rootless: true,
		CgroupPaths:         map[string]string{"": "/sys/fs/cgroup/unified/web", "memory": "/sys/fs/cgroup/memory/web"},
		ExternalDescriptors: []string{"/dev/null", "pipe:[123]", "/dev/pts/0"},
		IntelRdtPath:        "/sys/fs/resctrl/web",
		OCIVersion:          "1.3.0", Bundle: "/bundles/\"web\"", Rootfs: "/bundles/web/rootfs",
		Annotations: map[string]string{"b<x>": "1&2", "a": ""},
		Creating:    true, Owner: 1000, Xid: 40001, ExecFifo: "exec.fifo", NoPivot: true, SystemdCgroup: true,
		Config: []byte(strings.TrimSpace(configJSON)),
	}
	rec.SetPart("cgroup", []byte(`{"driver":"systemd","created":["/a"]}`))
	rec.SetPart("net", []byte(`[]`))
	return rec
}

const configJSON = `
{
	"ociVersion": "1.3.0",
	"process": {"args": ["sh"], "env": ["PATH=/bin"], "cwd": "/"},
	"root": {"path": "rootfs"}
}
`

// TestPeekedKeys: tools read these keys of runc's state.json.
func TestPeekedKeys(t *testing.T) {
	rec := fullRecord("web")
	rec.Config = []byte(configJSON)
	var got struct {
		ID        string            `json:"id"`
		Pid       int               `json:"init_process_pid"`
		Start     uint64            `json:"init_process_start"`
		Created   time.Time         `json:"created"`
		Rootless  bool              `json:"rootless"`
		Cgroups   map[string]string `json:"cgroup_paths"`
		Namespace map[string]string `json:"namespace_paths"`
		External  []string          `json:"external_descriptors"`
		Rdt       string            `json:"intel_rdt_path"`
		Config    map[string]any    `json:"config"`
	}
	buf := rec.encode()
	if err := json.Unmarshal(buf, &got); err != nil {
		t.Fatalf("%v in %s", err, buf)
	}
	if got.ID != rec.ID || got.Pid != rec.InitPid || got.Start != rec.InitStart || !got.Created.Equal(rec.Created) || !got.Rootless ||
		got.Rdt != rec.IntelRdtPath || got.Config["ociVersion"] != "1.3.0" {
		t.Errorf("got %+v", got)
	}
	if d := cmp.Diff(rec.CgroupPaths, got.Cgroups) + cmp.Diff(rec.ExternalDescriptors, got.External); d != "" {
		t.Error(d)
	}
	if len(got.Namespace) != 8 || got.Namespace["NEWNS"] != "/proc/4711/ns/mnt" {
		t.Errorf("namespaces: %v", got.Namespace)
	}
	if !strings.HasSuffix(string(buf), "\"root\": {\"path\": \"rootfs\"}\n}}\n") {
		t.Errorf("config is not last, or not as it was: %s", buf)
	}
}

func TestRoundTrip(t *testing.T) {
	for name, rec := range map[string]*Record{
		"full": fullRecord("web"),
		"bare": {ID: "x", Created: time.Unix(0, 0).UTC()},
	} {
		got, err := decode(rec.encode())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(rec, got, cmp.AllowUnexported(Record{}, part{})); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// TestDecodeForeign: a later version's keys are passed over.
func TestDecodeForeign(t *testing.T) {
	rec, err := decode([]byte(`{"new":[{"a":1}],"id":"x","vsrun":{"bundle":"/b","newer":{}},"cgroup_paths":null}`))
	if err != nil || rec.ID != "x" || rec.Bundle != "/b" || rec.CgroupPaths != nil || rec.Config != nil {
		t.Errorf("%+v, %v", rec, err)
	}
}

func TestParts(t *testing.T) {
	rec := &Record{ID: "x"}
	rec.SetPart("a", []byte(`1`))
	rec.SetPart("b", []byte(`2`))
	rec.SetPart("a", []byte(`3`))
	rec.SetPart("none", nil)
	if string(rec.Part("a")) != "3" || string(rec.Part("b")) != "2" || rec.Part("none") != nil || len(rec.parts) != 2 {
		t.Errorf("%v", rec.parts)
	}
	rec.SetPart("a", nil)
	if rec.Part("a") != nil || string(rec.Part("b")) != "2" {
		t.Errorf("%v", rec.parts)
	}
}

func BenchmarkLoadAndReport(b *testing.B) {
	s := testStore(b)
	d := mustReserve(b, s, "web")
	rec := fullRecord("web")
	rec.Config = []byte(`{"x":"` + strings.Repeat("x", 12000) + `"}`)
	rec.Creating = false
	rec.InitPid = 1
	rec.InitStart, _ = StartTime(1)
	mustSave(b, d, rec)
	var buf []byte
	for b.Loop() {
		rec, err := s.Load("web")
		if err != nil {
			b.Fatal(err)
		}
		r := s.Report(rec, nil)
		buf = r.AppendState(buf[:0])
	}
}

func BenchmarkSave(b *testing.B) {
	s := testStore(b)
	d := mustReserve(b, s, "web")
	rec := fullRecord("web")
	rec.Config = []byte(`{"x":"` + strings.Repeat("x", 12000) + `"}`)
	for b.Loop() {
		mustSave(b, d, rec)
	}
}
