package plan

import (
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/spec"
)

// ExecOptions are what BuildExec has to know besides the configuration.
type ExecOptions struct {
	// ID is the container's.
	ID string
	// Namespaces are the container's that are not the runtime's, as CLONE_NEW* flags.
	Namespaces uintptr
	// NoNewKeyring: the container was made without a session keyring of its own.
	NoNewKeyring bool
	PreserveFDs  int
	// Foreground: the runtime relays the terminal.
	Foreground bool
	// NoCgroup: the container has none.
	NoCgroup bool
	// Path is the executable, if it is another than Args[0] (a login shell's first argument is "-sh").
	Path string
	// ExactEnv: nothing is added to the environment.
	ExactEnv bool
}

// BuildExec plans a process that joins a running container: bundle.Spec is the container's configuration, with the new
// process in the place of its own (specs.Process, complete).
//
// What needs the privileges or the /proc of the runtime comes before the namespaces are joined: in a user namespace there
// are no privileges over the host's limits, and where the container's processes can see this one it is to hold nothing
// of the host's (CVE-2016-9962).
func BuildExec(bundle *spec.Bundle, facts *Facts, o *ExecOptions) (*Plan, error) {
	b := &builder{b: bundle, s: bundle.Spec, linux: bundle.Spec.Linux, facts: facts, opt: &Options{ID: o.ID, PreserveFDs: o.PreserveFDs}}
	if b.linux == nil {
		b.linux = &specs.Linux{}
	}
	b.p = &Plan{ID: o.ID, Clone: Clone{Origin: Default}}
	b.userns = o.Namespaces&unix.CLONE_NEWUSER != 0
	p := b.s.Process

	if !o.NoCgroup {
		b.add(JoinCgroup{Origin: "linux.cgroupsPath"})
	}
	b.execAffinity(p)
	if p.OOMScoreAdj != nil {
		b.add(OOMScoreAdj{"process.oomScoreAdj", *p.OOMScoreAdj})
	}
	b.labels(p, !o.NoNewKeyring)
	b.policies(p)
	if b.linux.MemoryPolicy != nil {
		b.memoryPolicy(b.linux.MemoryPolicy)
	}
	for i := range p.Rlimits {
		b.rlimit(at1("process.rlimits", i), &p.Rlimits[i], false)
	}

	b.add(JoinContainer{Origin: Default, Namespaces: o.Namespaces, Preserve: o.PreserveFDs})
	if b.userns {
		b.add(BecomeRoot{"linux.namespaces", b.keepGroups()})
	}
	if o.Namespaces&unix.CLONE_NEWNS == 0 {
		b.add(EnterRoot{Default})
	}
	// Only the host's root may change the host's device.
	if !p.Terminal && !b.userns && !facts.Unprivileged && b.setupDev() {
		b.add(NullStdio{Origin: Default, Running: true})
	}
	b.add(NewSession{Default})
	if !o.NoNewKeyring {
		b.add(Keyring{Origin: Default, Name: "_ses." + o.ID})
	}
	if b.linux.Personality != nil {
		b.personality()
	}
	if p.Terminal {
		b.terminalWithoutMounts(p)
		if o.Foreground {
			// What the program does first shall meet a terminal whose modes and size are set.
			b.await("process.terminal", StageRelay)
		}
	}
	if p.NoNewPrivileges {
		b.add(NoNewPrivileges{"process.noNewPrivileges"})
	}

	env := environment(p.Env)
	if home, _ := lookup(env, "HOME"); home == "" && !o.ExactEnv {
		if home = facts.Home("", p.User.UID); home == "" {
			home = "/"
		}
		env = setEnv(env, "HOME", home)
	}
	b.landlock(o.Namespaces&unix.CLONE_NEWPID != 0, o.Namespaces&unix.CLONE_NEWNET != 0)
	b.add(Chdir{Origin: "process.cwd", Path: p.Cwd, Early: true})
	b.user(p, b.filters() && !p.NoNewPrivileges)
	b.add(Chdir{Origin: "process.cwd", Path: p.Cwd})
	name := p.Args[0]
	if o.Path != "" {
		name = o.Path
	}
	b.add(lookPath(name, env))
	b.add(CloseFDs{Origin: Default, Preserve: o.PreserveFDs})
	b.lastLimits(p)
	// From here on it is the program's own doing if it does not come to run.
	b.add(Tell{Default, StageExec})
	b.seccomp()
	b.add(Exec{Origin: "process.args", Args: p.Args, Env: env})
	if len(b.errs) > 0 {
		return nil, b.errs
	}
	return b.p, nil
}

// maxCPUs is the most that Linux can be built for (NR_CPUS).
const maxCPUs = 8192

// execAffinity are the CPUs that the process runs on before and after it joins the cgroup (config.md,
// "execCPUAffinity"). Unless they are given, the process gets all there are, and not those that the runtime happens to
// run on; the kernel leaves out what the cgroup's cpuset has not.
func (b *builder) execAffinity(p *specs.Process) {
	a := p.ExecCPUAffinity
	if a == nil || a.Initial == "" && a.Final == "" {
		b.allCPUs()
		return
	}
	b.p.Affinity = b.cpuList("process.execCPUAffinity.initial", a.Initial)
	if final := b.cpuList("process.execCPUAffinity.final", a.Final); final != nil {
		b.add(Affinity{Origin: "process.execCPUAffinity.final", Mask: final, List: a.Final})
	}
}

// allCPUs lets the process run on all there are.
func (b *builder) allCPUs() {
	all := make([]uint64, maxCPUs/64)
	for i := range all {
		all[i] = ^uint64(0)
	}
	b.add(Affinity{Origin: Default, Mask: all, List: "0-" + strconv.Itoa(maxCPUs-1)})
}

func (b *builder) cpuList(at Origin, list string) []uint64 {
	mask, fault := parseList(list)
	if fault != "" {
		b.fault(string(at), fault)
	}
	return mask
}
