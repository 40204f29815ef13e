package libvserver

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/libvserver/cgroup"
	"github.com/vsrun/vsrun/libvserver/state"
	"github.com/vsrun/vsrun/spec"
	"github.com/vsrun/vsrun/spec/wire"
)

// FuzzUpdatedConfig changes the limits in any configuration by any resources: the result is a configuration with these
// limits, in which nothing else has changed.
func FuzzUpdatedConfig(f *testing.F) {
	f.Add([]byte(`{"ociVersion":"1.3.0","root":{"path":"r"},"linux":{"resources":{"pids":{"limit":1}}}}`), []byte(`{"pids":{"limit":5},"unified":{"memory.high":"max"}}`))
	f.Add([]byte(`{"ociVersion":"1.3.0","root":{"path":"r"},"linux":null}`), []byte(`{"memory":{"limit":0}}`))
	f.Add([]byte(`{"ociVersion":"1.3.0","root":{"path":"r"}}`), []byte(`{}`))
	f.Add([]byte(`{"ociVersion":"1.3.0","root":{"path":"r"},"LINUX":{"Resources":null}}`), []byte(`{"cpu":{"shares":2,"cpus":"0"}}`))
	f.Fuzz(func(t *testing.T, config, resources []byte) {
		before, err := spec.Parse(config, "")
		if err != nil {
			return
		}
		add, err := spec.ParseResources(resources)
		if err != nil {
			return
		}
		text, _, err := updatedConfig(config, add)
		if err != nil {
			return // limits that contradict each other
		}
		after, err := spec.Parse(text, "")
		if err != nil {
			t.Fatal(err)
		}
		var want specs.LinuxResources
		if l := before.Spec.Linux; l != nil && l.Resources != nil {
			want = *l.Resources
		}
		mergeResources(&want, add)
		if after.Spec.Linux == nil || after.Spec.Linux.Resources == nil {
			t.Fatalf("no resources in %s", text)
		}
		if d := cmp.Diff(&want, after.Spec.Linux.Resources, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("%s: %s", text, d)
		}
		if before.Spec.Linux == nil {
			before.Spec.Linux = &specs.Linux{}
		}
		before.Spec.Linux.Resources, after.Spec.Linux.Resources = nil, nil
		if d := cmp.Diff(before.Spec, after.Spec, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("%s: something else has changed: %s", text, d)
		}
	})
}

// FuzzParts reads the parts of state.json that are written by this package: no panic, and what was understood stays.
func FuzzParts(f *testing.F) {
	f.Add([]byte(`{"pidns":true,"ns":131072,"late":[[1,2,"process.args","execute","execve"]],"landlock":"{}","below":7}`),
		[]byte(`{"driver":"cgroupfs","layout":"hybrid","dirs":[{"hierarchy":"cpu","path":"/sys/fs/cgroup/cpu/x","made":1}]}`))
	f.Fuzz(func(t *testing.T, launch, group []byte) {
		var rec, again state.Record
		rec.SetPart(launchPart, launch)
		l := loadLaunched(&rec)
		l.save(&again)
		if d := cmp.Diff(l, loadLaunched(&again)); d != "" {
			t.Fatal(d)
		}
		r := wire.NewReader(group)
		s := cgroup.ReadState(r)
		if r.End() != nil {
			return
		}
		if d := cmp.Diff(s, cgroup.ReadState(wire.NewReader(s.AppendJSON(nil)))); d != "" {
			t.Fatal(d)
		}
	})
}
