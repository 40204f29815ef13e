package spec

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/spec/wire"
)

// FuzzProcess feeds the parser of `exec --process` files with anything: see FuzzParse.
func FuzzProcess(f *testing.F) {
	f.Add([]byte(`{"cwd":"/","args":["sh"],"env":["A=1"],"user":{"uid":1,"umask":18,"additionalGids":[5]},"capabilities":{"bounding":["CAP_KILL"],"ambient":["CAP_KILL"]},` +
		`"rlimits":[{"type":"RLIMIT_NOFILE","soft":1,"hard":2}],"noNewPrivileges":true,"oomScoreAdj":-5,"terminal":true,"consoleSize":{"height":1,"width":2}}`))
	f.Add([]byte(`{"scheduler":{"policy":"SCHED_DEADLINE","runtime":1,"deadline":2,"period":3},"ioPriority":{"class":"IOPRIO_CLASS_BE","priority":4},"execCPUAffinity":{"initial":"0-3","final":"1"}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := ParseProcess(in)
		if err != nil {
			_ = err.Error()
			return
		}
		var want specs.Process
		if err := json.Unmarshal(in, &want); err != nil {
			t.Fatalf("encoding/json refuses it: %v", err)
		}
		if !repeats(wire.NewReader(in)) && !reflect.DeepEqual(&want, p) {
			t.Fatalf("got  %+v\nwant %+v", p, want)
		}
		for _, s := range append(append([]string{p.Cwd}, p.Args...), p.Env...) {
			if strings.IndexByte(s, 0) >= 0 {
				t.Fatalf("the kernel would cut %q short", s)
			}
		}
	})
}

// FuzzResources feeds the parser of `update --resources` with anything: see FuzzParse.
func FuzzResources(f *testing.F) {
	f.Add([]byte(`{"memory":{"limit":1048576,"swap":-1,"swappiness":60},"cpu":{"shares":512,"quota":-1,"period":100000,"cpus":"0-1","mems":"0","idle":1},"pids":{"limit":5}}`))
	f.Add([]byte(`{"blockIO":{"weight":10,"weightDevice":[{"major":8,"minor":0,"weight":20}],"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}]},"unified":{"memory.high":"max"},"rdma":{"mlx5_1":{"hcaHandles":3}}}`))
	f.Add([]byte(`{"hugepageLimits":[{"pageSize":"2MB","limit":4}],"network":{"classID":1,"priorities":[{"name":"eth0","priority":2}]},"devices":[{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"}]}`))
	f.Add([]byte(`{"unified":{"../cgroup.procs":"1","/etc/passwd":"x","cgroup.procs":"0"}}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := ParseResources(in)
		if err != nil {
			_ = err.Error()
			return
		}
		var want specs.LinuxResources
		if err := json.Unmarshal(in, &want); err != nil {
			t.Fatalf("encoding/json refuses it: %v", err)
		}
		if !repeats(wire.NewReader(in)) && !reflect.DeepEqual(&want, r) {
			t.Fatalf("got  %+v\nwant %+v", r, want)
		}
		// The keys are names of files in the cgroup's directory, and so are these.
		for k := range r.Unified {
			if strings.Contains(k, "/") || k == "" || k == "." || k == ".." {
				t.Fatalf("unified key %q leaves the cgroup's directory", k)
			}
		}
		for _, h := range r.HugepageLimits {
			if strings.Contains(h.Pagesize, "/") {
				t.Fatalf("page size %q leaves the cgroup's directory", h.Pagesize)
			}
		}
	})
}

// FuzzAnnotation gives an annotation of ours any value, beside a sound configuration: no panic, and no fault but at its place.
func FuzzAnnotation(f *testing.F) {
	for _, name := range Annotations() {
		for _, value := range []string{"", "true", "1", "/x", "10.0.0.1/8", "20M", "a,b", "-1"} {
			f.Add(name, value)
		}
	}
	f.Add("no.such", "x")
	f.Fuzz(func(t *testing.T, name, value string) {
		var doc map[string]any
		if err := json.Unmarshal([]byte(base), &doc); err != nil {
			t.Fatal(err)
		}
		doc["annotations"] = map[string]string{VServerPrefix + name: value}
		in, err := json.Marshal(doc)
		if err != nil {
			t.Skip(err)
		}
		b, err := Parse(in, "/bundle")
		if err != nil {
			if !strings.Contains(err.Error(), "annotations") {
				t.Fatalf("%s=%q: %v", name, value, err)
			}
			return
		}
		if l := b.VServer.Landlock; strings.IndexByte(l.File, 0) >= 0 {
			t.Fatalf("the kernel would cut %q short", l.File)
		}
	})
}

// FuzzLandlock feeds the parser of ruleset files with anything. What it takes allows no more than it handles.
func FuzzLandlock(f *testing.F) {
	f.Add([]byte(`{"ruleset":[{"handledAccessFs":["write_file","truncate"],"handledAccessNet":["bind_tcp"],"scoped":["signal"]}],` +
		`"pathBeneath":[{"allowedAccess":["write_file"],"parent":["/tmp","/dev/null"]}],"netPort":[{"allowedAccess":["bind_tcp"],"port":[80]}]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := ParseLandlock(in)
		if err != nil {
			_ = err.Error()
			return
		}
		if s.FS|s.Net|s.Scoped == 0 {
			t.Fatal("nothing is handled")
		}
		for _, p := range s.Paths {
			if p.Path == "" || p.Path[0] != '/' || strings.IndexByte(p.Path, 0) >= 0 || p.Allowed&^s.FS != 0 || p.Allowed == 0 {
				t.Fatalf("%+v", p)
			}
		}
		for _, p := range s.Ports {
			if p.Port > 65535 || p.Allowed&^s.Net != 0 || p.Allowed == 0 {
				t.Fatalf("%+v", p)
			}
		}
	})
}
