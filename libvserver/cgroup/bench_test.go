package cgroup

import (
	"testing"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
	"github.com/vsrun/vsrun/libvserver/host"
)

const benchLimits = `{"memory":{"limit":67108864},"cpu":{"quota":50000,"period":100000},"pids":{"limit":100}}`

// BenchmarkCycle makes, limits and removes a cgroup, on whatever layout the host has.
func BenchmarkCycle(b *testing.B) {
	for _, c := range []struct{ name, res string }{{"no limits", "{}"}, {"limits", benchLimits}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m, err := New(Options{ID: "vsruntest-bench", Resources: resourcesOf(&testing.T{}, c.res)})
				if err != nil {
					b.Fatal(err)
				}
				for _, f := range []func() error{m.Create, m.Set, m.Destroy} {
					if err := f(); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// BenchmarkSet writes the limits of an existing version 1 cgroup, here and by the library.
func BenchmarkSet(b *testing.B) {
	if l := host.CgroupLayout(); l != host.CgroupV1 && l != host.CgroupHybrid {
		b.Skip("needs version 1")
	}
	m, err := New(Options{ID: "vsruntest-bench", Resources: resourcesOf(&testing.T{}, benchLimits)})
	if err != nil {
		b.Fatal(err)
	}
	if err := m.Create(); err != nil {
		b.Fatal(err)
	}
	defer m.Destroy()
	b.Run("here", func(b *testing.B) {
		for b.Loop() {
			if err := m.put(m.writes, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("library", func(b *testing.B) {
		lib, err := fs.NewManager(&cgroups.Cgroup{Resources: &cgroups.Resources{}}, m.Paths())
		if err != nil {
			b.Fatal(err)
		}
		res := libraryResources(b, &m.res)
		for b.Loop() {
			if err := lib.Set(res); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkLibraryCycle is BenchmarkCycle by the library, without the process and without device rules.
func BenchmarkLibraryCycle(b *testing.B) {
	if l := host.CgroupLayout(); l != host.CgroupV1 && l != host.CgroupHybrid {
		b.Skip("needs version 1")
	}
	own, err := convert(resourcesOf(&testing.T{}, benchLimits))
	if err != nil {
		b.Fatal(err)
	}
	res := libraryResources(b, &own)
	for b.Loop() {
		lib, err := fs.NewManager(&cgroups.Cgroup{Path: "/vsruntest-bench", Resources: res}, nil)
		if err != nil {
			b.Fatal(err)
		}
		if err := lib.Apply(-1); err != nil {
			b.Fatal(err)
		}
		if err := lib.Set(res); err != nil {
			b.Fatal(err)
		}
		if err := lib.Destroy(); err != nil {
			b.Fatal(err)
		}
	}
}
