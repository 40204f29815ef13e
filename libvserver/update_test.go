package libvserver

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/spec"
)

func TestSetMember(t *testing.T) {
	for _, c := range []struct{ doc, want string }{
		{`{}`, `{"a":{"b":7}}`},
		{` { "x" : 1 } `, ` {"a":{"b":7}, "x" : 1 } `},
		{`{"a":null,"x":1}`, `{"a":{"b":7},"x":1}`},
		{`{"a":{}}`, `{"a":{"b":7}}`},
		{`{"a":{"c":[1,{"b":2}]}}`, `{"a":{"b":7,"c":[1,{"b":2}]}}`},
		{`{"x":{"b":1},"a": {"c":1, "b" : {"d":[]} , "e":2},"y":"\"b\""}`, `{"x":{"b":1},"a": {"c":1, "b" :7 , "e":2},"y":"\"b\""}`},
		{`{"a":{"b":null}}`, `{"a":{"b":7}}`},
		{`{"A":{"B":1}}`, `{"A":{"B":7}}`}, // as encoding/json reads it
	} {
		got := string(setMember([]byte(c.doc), []byte("7"), "a", "b"))
		if got != c.want || !json.Valid([]byte(got)) {
			t.Errorf("%s: got %s, want %s", c.doc, got, c.want)
		}
	}
}

// What an update gives replaces, what it leaves out stays, and nothing else of the config changes.
func TestUpdatedConfig(t *testing.T) {
	const head = `{"ociVersion":"1.0.2","root":{"path":"rootfs"},"process":{"cwd":"/","args":["sh"]},"odd":[1.50,"é"],"linux":{"namespaces":[{"type":"mount"}],"resources":`
	const tail = `,"unknown":{"x":1e2}}}`
	for _, c := range []struct{ old, add, want string }{
		{`{}`, `{}`, `{}`},
		{`{"memory":{"limit":1000000,"swap":2000000}}`, `{"memory":{"limit":1500000}}`, `{"memory":{"limit":1500000,"swap":2000000}}`},
		{`{"memory":{"limit":1000000,"swap":2000000}}`, `{"memory":{"limit":-1}}`, `{"memory":{"limit":-1}}`}, // and swap, as in runc
		{`{"memory":{"limit":1000000,"swap":2000000}}`, `{"memory":{"limit":-1,"swap":3000000}}`, `{"memory":{"limit":-1,"swap":3000000}}`},
		{`{"memory":{"limit":1000000,"swap":2000000}}`, `{"memory":{"limit":4000000,"swap":0}}`, `{"memory":{"limit":4000000}}`},
		{`{"cpu":{"shares":2,"idle":1},"memory":{"limit":5000000}}`, `{"cpu":{"shares":0,"quota":0,"idle":0},"memory":{"limit":0,"swap":0}}`,
			`{"cpu":{"shares":2,"idle":0},"memory":{"limit":5000000}}`}, // 0 gives none
		{`{"cpu":{"quota":5000,"period":10000,"cpus":"0"}}`, `{"cpu":{"period":20000}}`, `{"cpu":{"quota":5000,"period":20000,"cpus":"0"}}`},
		{`{"devices":[{"allow":false,"access":"rwm"}]}`, `{"devices":[{"allow":true,"access":"rwm"}],"pids":{"limit":7}}`,
			`{"devices":[{"allow":false,"access":"rwm"}],"pids":{"limit":7}}`},
		{`{"blockIO":{"weight":100,"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1},{"major":8,"minor":16,"rate":2}]}}`,
			`{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":16,"rate":3},{"major":8,"minor":32,"rate":4}]}}`,
			`{"blockIO":{"weight":100,"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1},{"major":8,"minor":16,"rate":3},{"major":8,"minor":32,"rate":4}]}}`},
		{`{"hugepageLimits":[{"pageSize":"2MB","limit":1}],"unified":{"a.b":"1"}}`, `{"hugepageLimits":[{"pageSize":"2MB","limit":2}],"unified":{"c.d":"2"}}`,
			`{"hugepageLimits":[{"pageSize":"2MB","limit":2}],"unified":{"a.b":"1","c.d":"2"}}`},
	} {
		add, err := spec.ParseResources([]byte(c.add))
		if err != nil {
			t.Fatal(err)
		}
		out, _, err := updatedConfig([]byte(head+c.old+tail), add)
		if err != nil {
			t.Fatal(err)
		}
		rest, ok := cutBoth(string(out), head, tail)
		if !ok {
			t.Errorf("%s: something else has changed: %s", c.add, out)
		}
		var got, want any
		if err := json.Unmarshal([]byte(rest), &got); err != nil {
			t.Errorf("%s: %v", rest, err)
		}
		_ = json.Unmarshal([]byte(c.want), &want)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s and %s: %s", c.old, c.add, d)
		}
	}
}

// An update of memory's limit alone is to be written with the sum that is on record.
func TestUpdateWritesSum(t *testing.T) {
	for _, c := range []struct{ old, add, want string }{
		{`{"memory":{"limit":1000000,"swap":2000000}}`, `{"memory":{"limit":1500000}}`, `{"memory":{"limit":1500000,"swap":2000000}}`},
		{`{"memory":{"limit":1000000,"swap":-1}}`, `{"memory":{"limit":1500000},"pids":{"limit":1}}`, `{"memory":{"limit":1500000,"swap":-1},"pids":{"limit":1}}`},
		{`{"memory":{"limit":1000000,"swap":2000000}}`, `{"memory":{"limit":-1}}`, `{"memory":{"limit":-1}}`},
		{`{"memory":{"limit":1000000,"swap":2000000}}`, `{"memory":{"limit":4000000,"swap":0}}`, `{"memory":{"limit":4000000,"swap":0}}`},
		{`{"memory":{"limit":1000000,"swap":2000000}}`, `{"memory":{"reservation":5}}`, `{"memory":{"reservation":5}}`},
		{`{"memory":{"limit":1000000,"swap":2000000}}`, `{"memory":{"limit":0}}`, `{"memory":{"limit":0}}`},
		{`{"memory":{"limit":1000000}}`, `{"memory":{"limit":2}}`, `{"memory":{"limit":2}}`},
		{`{}`, `{"memory":{"limit":2}}`, `{"memory":{"limit":2}}`},
	} {
		add, err := spec.ParseResources([]byte(c.add))
		if err != nil {
			t.Fatal(err)
		}
		given := add.Memory.Swap
		_, write, err := updatedConfig([]byte(`{"ociVersion":"1.0.2","root":{"path":"r"},"linux":{"resources":`+c.old+`}}`), add)
		if err != nil {
			t.Errorf("%s and %s: %v", c.old, c.add, err)
			continue
		}
		want, err := spec.ParseResources([]byte(c.want))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, write); d != "" {
			t.Errorf("%s and %s: %s", c.old, c.add, d)
		}
		if add.Memory.Swap != given {
			t.Errorf("%s: what was given has changed", c.add)
		}
	}
}

// What the record could not be read with any more, at the next update, is refused.
func TestUpdatedConfigRefuses(t *testing.T) {
	const doc = `{"ociVersion":"1.0.2","root":{"path":"r"},"linux":{"resources":{"memory":{"limit":1000000,"swap":2000000},"cpu":{"quota":1000,"burst":500}}}}`
	minus2, much, less, two := int64(-2), int64(3000000), int64(100), int64(2)
	for want, add := range map[string]*specs.LinuxResources{
		"linux.resources.pids.limit: must not be less than -1":                                {Pids: &specs.LinuxPids{Limit: &minus2}},
		"linux.resources.memory.swap: is memory and swap together and must not be less than ": {Memory: &specs.LinuxMemory{Limit: &much}},
		"linux.resources.cpu.burst: must not exceed quota":                                    {CPU: &specs.LinuxCPU{Quota: &less}},
		"linux.resources.cpu.idle: must be from 0 to 1":                                       {CPU: &specs.LinuxCPU{Idle: &two}},
	} {
		if _, _, err := updatedConfig([]byte(doc), add); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func cutBoth(s, head, tail string) (string, bool) {
	n := len(s) - len(tail)
	if len(s) < len(head)+len(tail) || s[:len(head)] != head || s[n:] != tail {
		return "", false
	}
	return s[len(head):n], true
}

func TestResctrlMissing(t *testing.T) {
	if resctrlLacks("L3") == "" {
		t.Skip("this machine has resctrl")
	}
	if _, err := setResctrl("/nowhere", "L3:0=f", ""); err == nil || err.Error()[:len("Intel RDT/CAT: l3 cache schema is not enabled")] != "Intel RDT/CAT: l3 cache schema is not enabled" {
		t.Error(err)
	}
	undo, err := setResctrl("", "", "")
	if err != nil || undo() != nil {
		t.Error(err)
	}
}
