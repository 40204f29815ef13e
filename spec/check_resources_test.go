package spec

import (
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestResources(t *testing.T) {
	const r = "linux.resources"
	tests := []checkTest{
		{r + `={}`, ``},
		{r + `.devices=[{"allow":true,"type":"c","major":-1,"minor":-1,"access":"rwm"},{"allow":true,"type":"a","access":"r"},{"allow":false,"type":"b","major":8,"access":"m"}]`, ``},
		{r + `.devices[0].type="u"`, r + `.devices[0].type: unknown device type "u" (known: a, b, c)`},
		{r + `.devices[0].major=-2`, r + `.devices[0].major: must not be less than -1 (got -2)`},
		{r + `.devices[0].minor=-2`, r + `.devices[0].minor: must not be less than -1 (got -2)`},
		{r + `.devices[0].access=""`, r + `.devices[0].access: must not be empty`},
		{r + `.devices[0].access="rx"`, r + `.devices[0].access: must be made of r, w and m (got "rx")`},
		{`-` + r + `.devices[0].allow`, r + `.devices[0].allow: is required`},

		{r + `.memory={"limit":-1,"reservation":-1,"swap":-1,"kernel":-1,"kernelTCP":-1,"swappiness":100,"disableOOMKiller":false,"useHierarchy":true,"checkBeforeUpdate":true}`, ``},
		{r + `.memory={"limit":100,"swap":100}`, ``},
		{r + `.memory={"limit":100,"swap":0}`, ``},
		{r + `.memory={"limit":-2}`, r + `.memory.limit: must not be less than -1 (got -2)`},
		{r + `.memory={"reservation":-2}`, r + `.memory.reservation: must not be less than -1 (got -2)`},
		{r + `.memory={"swap":-2}`, r + `.memory.swap: must not be less than -1 (got -2)`},
		{r + `.memory={"kernel":-2}`, r + `.memory.kernel: must not be less than -1 (got -2)`},
		{r + `.memory={"kernelTCP":-2}`, r + `.memory.kernelTCP: must not be less than -1 (got -2)`},
		{r + `.memory={"limit":100,"swap":99}`, r + `.memory.swap: is memory and swap together and must not be less than limit (99 < 100)`},
		{r + `.memory={"swappiness":101}`, r + `.memory.swappiness: must be from 0 to 100 (got 101)`},
		{r + `.memory={"swappiness":18446744073709551615}`, ``},
		{r + `.memory={"limit":"1G"}`, r + `.memory.limit: must be a whole number (got "1G")`},

		{r + `.cpu={"shares":1024,"quota":100,"burst":100,"period":100000,"realtimeRuntime":1,"realtimePeriod":1,"cpus":"0-3,7","mems":"0","idle":1}`, ``},
		{r + `.cpu={"quota":-1,"burst":5}`, ``},
		{r + `.cpu={"quota":100,"burst":101}`, r + `.cpu.burst: must not exceed quota (101 > 100)`},
		{r + `.cpu={"quota":-2}`, r + `.cpu.quota: must not be less than -1 (got -2)`},
		{r + `.cpu={"realtimeRuntime":-2}`, r + `.cpu.realtimeRuntime: must not be less than -1 (got -2)`},
		{r + `.cpu={"idle":2}`, r + `.cpu.idle: must be from 0 to 1 (got 2)`},
		{r + `.cpu={"cpus":"0-"}`, r + `.cpu.cpus: must be a list of numbers and ranges, like 0-3,7 (got "0-")`},
		{r + `.cpu={"mems":"9999"}`, r + `.cpu.mems: goes beyond 8191: 9999`},

		{r + `.pids.limit=0`, ``},
		{r + `.pids.limit=-1`, ``},
		{r + `.pids={}`, ``},
		{r + `.pids.limit=-2`, r + `.pids.limit: must not be less than -1 (got -2)`},

		{r + `.blockIO={"weight":10,"leafWeight":10,"weightDevice":[{"major":8,"minor":0,"weight":1},{"major":8,"minor":0,"leafWeight":1}],"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}]}`, ``},
		{r + `.blockIO.weight=65536`, r + `.blockIO.weight: must be a whole number that fits 16 bits (got 65536)`},
		{r + `.blockIO.weightDevice=[{"major":8,"minor":0}]`, r + `.blockIO.weightDevice[0]: must have weight or leafWeight`},
		{r + `.blockIO.weightDevice=[{"major":8,"minor":-1,"weight":1}]`, r + `.blockIO.weightDevice[0]: major and minor must not be negative (got 8:-1)`},

		{r + `.hugepageLimits=[{"pageSize":"2MB","limit":0},{"pageSize":"64KB","limit":1},{"pageSize":"16GB","limit":1}]`, ``},
		{r + `.network={"classID":1,"priorities":[{"name":"eth0","priority":5}]}`, ``},
		{r + `.network={"priorities":[{"priority":5}]}`, r + `.network.priorities[0].name: is required`},
		{r + `.rdma={"mlx5_1":{"hcaHandles":3},"mlx4_0":{"hcaObjects":1}}`, ``},
		{r + `.rdma={"mlx5_1":{},"a":{}}`, r + ".rdma.a: must have hcaHandles or hcaObjects\n" + r + `.rdma.mlx5_1: must have hcaHandles or hcaObjects`},
		{r + `.unified={"memory.high":"1","io.max":""}`, ``},
		{r + `.unified={"a/b":"1","..":"","":"","c\u0000":""}`, r + ".unified[\"\"]: must be the name of a file of a cgroup\n" + r + ".unified[\"..\"]: must be the name of a file of a cgroup\n" +
			r + ".unified[\"a/b\"]: must be the name of a file of a cgroup\n" + r + `.unified["c\u0000"]: must be the name of a file of a cgroup`},
	}
	for _, f := range []string{"throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice", "throttleWriteIOPSDevice"} {
		tests = append(tests,
			checkTest{r + `.blockIO.` + f + `=[{"major":8,"minor":0}]`, r + `.blockIO.` + f + `[0].rate: is required`},
			checkTest{r + `.blockIO.` + f + `=[{"major":-8,"minor":0,"rate":1}]`, r + `.blockIO.` + f + `[0]: major and minor must not be negative (got -8:0)`})
	}
	for _, s := range []string{"", "MB", "2", "2M", "2mb", "-2MB", "02MB", "2TB", "2.5MB", "x2MB"} {
		tests = append(tests, checkTest{r + `.hugepageLimits=[{"pageSize":"` + s + `","limit":0}]`, r + `.hugepageLimits[0].pageSize: must be a size like 64KB, 2MB or 1GB (got "` + s + `")`})
	}
	runChecks(t, tests)

	// The same document alone.
	for _, tt := range tests {
		doc := change(t, base, strings.Split(tt.edits, " ;; ")...)
		_, err := Parse(doc, "/bundle")
		_, aloneErr := ParseResources(resourcesOf(t, doc))
		if got, want := faultsOf(t, aloneErr), strings.ReplaceAll(faultsOf(t, err), "linux.resources", "resources"); got != want {
			t.Errorf("%s alone:\ngot  %s\nwant %s", tt.edits, got, want)
		}
	}
	for _, tt := range []checkTest{
		{`null`, `resources: must be an object (got null)`},
		{`{"memory":{"limit":`, `line 1, column 20: expected a value, found end of input (in memory.limit)`},
	} {
		if _, err := ParseResources([]byte(tt.edits)); errText(err) != tt.want {
			t.Errorf("%s: got %v, want %s", tt.edits, err, tt.want)
		}
	}
}

func TestParseList(t *testing.T) {
	for in, want := range map[string]string{
		"": "", " \n": "", "0": "0-0", "0-3,7": "0-3 7-7", "8191": "8191-8191", "5-5\n": "5-5", "1,1": "1-1 1-1",
	} {
		var got []string
		if err := ParseList(in, func(first, last int) { got = append(got, strconv.Itoa(first)+"-"+strconv.Itoa(last)) }); err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for in, want := range map[string]string{
		"x":                      `must be a list of numbers and ranges, like 0-3,7 (got "x")`,
		",":                      `must be a list of numbers and ranges, like 0-3,7 (got ",")`,
		"1-2-3":                  `must be a list of numbers and ranges, like 0-3,7 (got "1-2-3")`,
		"-1":                     `must be a list of numbers and ranges, like 0-3,7 (got "-1")`,
		"0, 1":                   `must be a list of numbers and ranges, like 0-3,7 (got "0, 1")`,
		"3-2":                    `has a range that ends before it begins: 3-2`,
		"0-8192":                 `goes beyond 8191: 0-8192`,
		"99999999999999999999":   `goes beyond 8191: 99999999999999999999`,
		"0-99999999999999999999": `goes beyond 8191: 0-99999999999999999999`,
	} {
		if err := ParseList(in, nil); err == nil || err.Error() != want {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestAnnotations(t *testing.T) {
	const x = `annotations["org.linux-vserver.context.xid"]`
	tests := []checkTest{
		{`annotations={"a":"","org.opencontainers.image.x":"y"}`, ``},
		{`annotations={"":"x"}`, `annotations: a key must not be empty`},
		{`annotations={"a":1}`, `annotations.a: must be a string (got 1)`},
		{x + `="2"`, ``},
		{x + `="49151"`, ``},
		{`annotations["org.linux-vserverx"]="5"`, ``},
	}
	for _, bad := range []string{"", "0", "1", "49152", "-2", "+5", "0x10", "5 ", "99999999999999", "a"} {
		tests = append(tests, checkTest{x + `="` + bad + `"`, x + `: must be a number from 2 to 49151 (got "` + bad + `")`})
	}
	runChecks(t, tests)
	runWarnings(t, []checkTest{
		{`annotations["org.linux-vserver.context.xidd"]="5"`, `annotations["org.linux-vserver.context.xidd"]: unknown annotation, ignored (did you mean "org.linux-vserver.context.xid"?)`},
		{`annotations["org.linux-vserver.foo"]="5"`, `annotations["org.linux-vserver.foo"]: unknown annotation, ignored`},
		{`annotations={"org.linux-vserver.":"","org.linux-vserver.b":""}`, "annotations[\"org.linux-vserver.\"]: unknown annotation, ignored\nannotations[\"org.linux-vserver.b\"]: unknown annotation, ignored"},
		{`annotations["org.linux-vserver.context.something"]="5"`, `annotations["org.linux-vserver.context.something"]: unknown annotation, ignored (known: org.linux-vserver.context.xid, org.linux-vserver.context.flags)`},
	})
	b, err := Parse(change(t, base, x+`="4711"`), "")
	if err != nil || b.VServer.XID != 4711 {
		t.Error(b, err)
	}
	if b, err = Parse([]byte(base), ""); err != nil || !cmp.Equal(b.VServer, Extension{}) {
		t.Error(b, err)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"network", "pid", "mount", "RLIMIT_NOFILE"}
	for in, want := range map[string]string{
		"netwrok": "network", "NETWORK": "network", "net": "network", "pdi": "pid", "pit": "pid", "mout": "mount", "x": "", "": "",
		"rlimit_nofiel": "RLIMIT_NOFILE", "completely else": "", strings.Repeat("a", 100): "",
	} {
		if got := nearest(in, names); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
