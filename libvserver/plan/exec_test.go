package plan

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/spec"
)

const allNamespaces = unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP

// execPlan plans an exec of a shell into the container of a configuration in testdata.
func execPlan(t *testing.T, config string, o ExecOptions, change func(p *specs.Process)) (*Plan, error) {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + config + ".json")
	if err != nil {
		t.Fatal(err)
	}
	b, err := spec.Parse(raw, "/bundle")
	if err != nil {
		t.Fatal(err)
	}
	b.Spec.Process.Args = []string{"sh", "-c", "true"}
	if change != nil {
		change(b.Spec.Process)
	}
	o.ID = "ID"
	return BuildExec(b, host(unified), &o)
}

// TestExecGolden compares plans of execs with what they were.
func TestExecGolden(t *testing.T) {
	for name, c := range map[string]struct {
		config string
		opt    ExecOptions
		change func(p *specs.Process)
	}{
		"exec-default": {"default", ExecOptions{Namespaces: allNamespaces}, nil},
		"exec-full":    {"full", ExecOptions{Namespaces: allNamespaces, PreserveFDs: 2}, nil},
		"exec-userns":  {"userns", ExecOptions{Namespaces: allNamespaces | unix.CLONE_NEWUSER}, nil},
		"exec-nomount": {"nomount", ExecOptions{NoNewKeyring: true, NoCgroup: true}, nil},
		"exec-tty": {"default", ExecOptions{Namespaces: allNamespaces, Foreground: true}, func(p *specs.Process) {
			p.Terminal, p.ConsoleSize = true, &specs.Box{Height: 25, Width: 80}
			p.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0", Final: "0-1"}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := execPlan(t, c.config, c.opt, c.change)
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			if p.Affinity != nil {
				got = fmt.Appendf(got, "clone on CPUs %x\n", p.Affinity)
			}
			for _, s := range p.Steps {
				got = fmt.Appendf(got, "%s  %s\n", s.String(), s.At())
			}
			file := "testdata/" + name + ".golden"
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("%s (go test -update writes it anew): %s", file, d)
			}
		})
	}
}

// TestExecOrder: what needs the host comes before the container is joined, and what is to be seen inside after it.
func TestExecOrder(t *testing.T) {
	p, err := execPlan(t, "full", ExecOptions{Namespaces: allNamespaces | unix.CLONE_NEWUSER}, func(p *specs.Process) {
		p.OOMScoreAdj = new(int)
		p.ApparmorProfile = "profile"
		p.Scheduler = &specs.Scheduler{Policy: specs.SchedFIFO, Priority: 1}
		p.NoNewPrivileges = false
	})
	if err != nil {
		t.Fatal(err)
	}
	at := func(f func(Step) bool) int { return slices.IndexFunc(p.Steps, f) }
	join := at(func(s Step) bool { _, ok := s.(JoinContainer); return ok })
	for name, early := range map[string]func(Step) bool{
		"cgroup":        func(s Step) bool { _, ok := s.(JoinCgroup); return ok },
		"oom_score_adj": func(s Step) bool { _, ok := s.(OOMScoreAdj); return ok },
		"label":         func(s Step) bool { _, ok := s.(Label); return ok },
		"scheduler":     func(s Step) bool { _, ok := s.(Scheduler); return ok },
		"rlimit":        func(s Step) bool { _, ok := s.(Rlimit); return ok },
	} {
		if i := at(early); i < 0 || i > join {
			t.Errorf("%s is step %d, the container is joined in %d", name, i, join)
		}
	}
	user := at(func(s Step) bool { _, ok := s.(User); return ok })
	filter := at(func(s Step) bool { _, ok := s.(Seccomp); return ok })
	if !(join < user && user < filter && filter >= len(p.Steps)-3) {
		t.Errorf("container joined in step %d, user in %d, filter in %d of %d", join, user, filter, len(p.Steps))
	}
	if u := p.Steps[user].(User); !u.KeepAdmin {
		t.Error("the filter cannot be loaded: CAP_SYS_ADMIN is given up")
	}
}

func TestExecFaults(t *testing.T) {
	for name, c := range map[string]struct {
		change func(p *specs.Process)
		want   string
	}{
		"rlimit":   {func(p *specs.Process) { p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_X"}} }, `process.rlimits[0].type: unknown rlimit "RLIMIT_X"`},
		"affinity": {func(p *specs.Process) { p.ExecCPUAffinity = &specs.CPUAffinity{Initial: "x"} }, `process.execCPUAffinity.initial: not a list of numbers: "x"`},
	} {
		_, err := execPlan(t, "default", ExecOptions{Namespaces: allNamespaces}, c.change)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}
