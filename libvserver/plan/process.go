package plan

import (
	"path"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/quota"
	"github.com/vsrun/vsrun/spec"
)

// defaultPath is where execvp(3) looks if the environment has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// process are the steps after the root filesystem stands: they turn the child into the container's program.
//
// With a seccomp profile but without no_new_privs the filter can only be loaded with CAP_SYS_ADMIN (seccomp(2)). The
// process then keeps that capability until the filter is in; execve(2) takes it away in any case, as it computes the new
// sets from the bounding, inheritable and ambient ones alone. So the filter is the last thing before execve on every
// path, and a profile needs to allow nothing that only the runtime would call.
func (b *builder) process() {
	p := b.s.Process
	if p == nil {
		b.add(CloseFDs{Origin: Default, Preserve: 0})
		b.await(Default, StageCreated)
		b.add(WaitStart{Default})
		return
	}
	seccomp := b.filters()
	b.labels(p, !b.opt.NoNewKeyring)
	if !b.opt.NoNewKeyring {
		b.add(Keyring{Origin: Default, Name: "_ses." + b.opt.ID})
	}
	b.scheduling(p)
	if b.linux.Personality != nil {
		b.personality()
	}
	if !b.mntns && p.Terminal {
		b.terminalWithoutMounts(p)
	}
	if p.NoNewPrivileges {
		b.add(NoNewPrivileges{"process.noNewPrivileges"})
	}

	env := environment(p.Env, b.opt.Env)
	home, known := lookup(env, "HOME")
	ask := false
	if !known || home == "" {
		if b.mntns && !b.covered("/etc/passwd") && b.facts.Home != nil && b.p.Overlay == nil {
			home = b.facts.Home(b.p.Rootfs, p.User.UID)
			if home == "" {
				home = "/"
			}
			env = setEnv(env, "HOME", home)
		} else {
			ask = true
			env = unsetEnv(env, "HOME")
			b.await("process.env", StageHome)
		}
	}

	b.rlimits()
	b.landlock(b.own(unix.CLONE_NEWPID), b.own(unix.CLONE_NEWNET))
	b.add(Chdir{Origin: "process.cwd", Path: p.Cwd, Early: true})
	b.user(p, seccomp && !p.NoNewPrivileges)
	b.dumpable()
	b.add(Chdir{Origin: "process.cwd", Path: p.Cwd})
	if len(p.Args) > 0 {
		b.add(lookPath(p.Args[0], env))
	}
	// Before it is said to be created: who looks then finds nothing of the host's.
	b.add(CloseFDs{Origin: Default, Preserve: b.opt.PreserveFDs})
	if !b.opt.Recorded || b.forks() || b.p.Clone.Joins(unix.CLONE_NEWUSER) {
		b.await(Default, StageCreated)
	} else {
		b.await(Default, StageRecorded)
	}
	if b.opt.Wait {
		b.add(WaitStart{Default})
	}
	if b.s.Hooks != nil && len(b.s.Hooks.StartContainer) > 0 {
		b.await("hooks.startContainer", StageStart)
	}
	b.lastLimits(p)
	b.seccomp()
	b.add(Exec{Origin: "process.args", Args: p.Args, Env: env, Home: ask})
}

// lastLimits are those that would have been in the way before.
func (b *builder) lastLimits(p *specs.Process) {
	for i := range p.Rlimits {
		if p.Rlimits[i].Type == "RLIMIT_NOFILE" {
			b.rlimit(at1("process.rlimits", i), &p.Rlimits[i], true)
		}
	}
}

// filters tells if a seccomp filter is going to be loaded.
func (b *builder) filters() bool {
	return b.linux.Seccomp != nil || len(b.b.VServer.Net.Addresses) > 0 || b.leavesQuota()
}

// seccomp loads the filter, if there is one, and hands over its notify descriptor. That of a network context comes before:
// the config's may allow no more of them.
func (b *builder) seccomp() {
	if len(b.b.VServer.Net.Addresses) > 0 {
		b.add(Seccomp{Origin: Origin(spec.AnnotationPath("net.addresses")), Network: true})
	}
	if b.leavesQuota() {
		insns, err := quota.Filter()
		if err != nil {
			b.fault(diskAt(&b.b.VServer.Disk).At(), err.Error())
			return
		}
		b.add(Seccomp{Origin: diskAt(&b.b.VServer.Disk), Quota: true, Filter: &Filter{Insns: insns}})
	}
	if b.linux.Seccomp == nil {
		return
	}
	notify := false
	for i := range b.linux.Seccomp.Syscalls {
		notify = notify || b.linux.Seccomp.Syscalls[i].Action == specs.ActNotify
	}
	b.add(Seccomp{Origin: "linux.seccomp", Notify: notify})
	if notify {
		b.await("linux.seccomp.listenerPath", StageListener)
	}
}

func (b *builder) terminalWithoutMounts(p *specs.Process) {
	t := Terminal{Wanted: true}
	if p.ConsoleSize != nil {
		t.Width, t.Height = uint16(p.ConsoleSize.Width), uint16(p.ConsoleSize.Height)
	}
	b.p.Console = t
	b.add(Console{Origin: "process.terminal", Terminal: t, UID: p.User.UID})
}

func (b *builder) user(p *specs.Process, keepAdmin bool) {
	u := User{Origin: "process.user", UID: p.User.UID, GID: p.User.GID, Groups: p.User.AdditionalGids, Umask: -1, SetGroups: !b.keepGroups(), ChownStdio: p.User.UID != 0}
	if p.User.Umask != nil {
		u.Umask = int(*p.User.Umask)
	}
	if b.p.Clone.Has(unix.CLONE_NEWUSER) && b.p.Clone.OwnGID && len(u.Groups) > 0 && u.SetGroups {
		b.fault("process.user.additionalGids", "can't be set: without privileges a single mapping of the caller's own gid takes setgroups(2) from the user namespace; map a range of /etc/subgid")
	}
	if c := p.Capabilities; c != nil {
		u.Caps = &Capabilities{
			Bounding: b.caps("bounding", c.Bounding), Effective: b.caps("effective", c.Effective), Permitted: b.caps("permitted", c.Permitted),
			Inheritable: b.caps("inheritable", c.Inheritable), Ambient: b.caps("ambient", c.Ambient),
		}
		// capset(2) refuses effective capabilities outside the permitted, and ambient ones outside permitted and
		// inheritable. The spec wants a warning, which spec.Load has given.
		u.Caps.Effective &= u.Caps.Permitted
		u.Caps.Ambient &= u.Caps.Permitted & u.Caps.Inheritable
	} else {
		u.Caps = &Capabilities{}
	}
	u.KeepAdmin = keepAdmin
	b.add(u)
}

// caps turns names into bits. What the kernel or this process cannot grant is a warning (config.md, "capabilities").
func (b *builder) caps(set string, names []string) uint64 {
	var mask uint64
	for _, n := range names {
		bit := capBit(n)
		if bit < 0 {
			continue // spec.Load has warned
		}
		mask |= 1 << bit
	}
	if !b.userns && b.facts.Permitted != 0 {
		if over := mask &^ b.facts.Permitted; over != 0 {
			b.warn("process.capabilities." + set + ": not granted to the runtime itself, dropped: " + capList(over))
			mask &= b.facts.Permitted
		}
	}
	return mask
}

func (b *builder) rlimit(at Origin, r *specs.POSIXRlimit, late bool) {
	n := rlimitNumber(r.Type)
	if n < 0 {
		b.fault(string(at)+".type", "unknown rlimit "+strconv.Quote(r.Type))
		return
	}
	s := Rlimit{Origin: at, Name: r.Type, Resource: n, Soft: r.Soft, Hard: r.Hard}
	if n == unix.RLIMIT_NOFILE && !late {
		// The process still needs a few descriptors of its own; the exact value comes right before execve.
		if s.Hard < 64 {
			s.Hard = 64
		}
		s.Soft = s.Hard
	}
	b.add(s)
}

func rlimitNumber(name string) int {
	switch name {
	case "RLIMIT_AS":
		return unix.RLIMIT_AS
	case "RLIMIT_CORE":
		return unix.RLIMIT_CORE
	case "RLIMIT_CPU":
		return unix.RLIMIT_CPU
	case "RLIMIT_DATA":
		return unix.RLIMIT_DATA
	case "RLIMIT_FSIZE":
		return unix.RLIMIT_FSIZE
	case "RLIMIT_LOCKS":
		return unix.RLIMIT_LOCKS
	case "RLIMIT_MEMLOCK":
		return unix.RLIMIT_MEMLOCK
	case "RLIMIT_MSGQUEUE":
		return unix.RLIMIT_MSGQUEUE
	case "RLIMIT_NICE":
		return unix.RLIMIT_NICE
	case "RLIMIT_NOFILE":
		return unix.RLIMIT_NOFILE
	case "RLIMIT_NPROC":
		return unix.RLIMIT_NPROC
	case "RLIMIT_RSS":
		return unix.RLIMIT_RSS
	case "RLIMIT_RTPRIO":
		return unix.RLIMIT_RTPRIO
	case "RLIMIT_RTTIME":
		return unix.RLIMIT_RTTIME
	case "RLIMIT_SIGPENDING":
		return unix.RLIMIT_SIGPENDING
	case "RLIMIT_STACK":
		return unix.RLIMIT_STACK
	}
	return -1
}

// labels are the process', and with a keyring of its own that one's: without it the process could not use its keyring.
func (b *builder) labels(p *specs.Process, keyring bool) {
	if p.ApparmorProfile != "" && p.ApparmorProfile != "unconfined" || p.ApparmorProfile == "unconfined" && b.facts.AppArmor {
		if !b.facts.AppArmor {
			b.fault("process.apparmorProfile", "profile "+strconv.Quote(p.ApparmorProfile)+" asked for, but AppArmor is not enabled on this host")
		}
		b.add(Label{Origin: "process.apparmorProfile", LSM: "apparmor", File: "apparmor/exec", Value: "exec " + p.ApparmorProfile, Name: p.ApparmorProfile})
	}
	if p.SelinuxLabel != "" {
		if !b.facts.SELinux {
			b.fault("process.selinuxLabel", "label "+strconv.Quote(p.SelinuxLabel)+" asked for, but SELinux is not enabled on this host")
		}
		b.add(Label{Origin: "process.selinuxLabel", LSM: "selinux", File: "exec", Value: p.SelinuxLabel, Name: p.SelinuxLabel})
		if keyring {
			b.add(Label{Origin: "process.selinuxLabel", LSM: "selinux", File: keyLabel, Value: p.SelinuxLabel, Name: p.SelinuxLabel})
		}
	}
	if b.linux.MountLabel != "" && !b.facts.SELinux {
		b.fault("linux.mountLabel", "label "+strconv.Quote(b.linux.MountLabel)+" asked for, but SELinux is not enabled on this host")
	}
}

func (b *builder) sysctls() {
	if len(b.linux.Sysctl) == 0 {
		return
	}
	for _, k := range sortedKeys(b.linux.Sysctl) {
		b.add(Sysctl{Origin: Origin("linux.sysctl[" + strconv.Quote(k) + "]"), Key: k, File: sysctlFile(k), Value: b.linux.Sysctl[k]})
	}
}

// sysctlFile is the path of a sysctl below /proc/sys. With the first separator a dot, dots separate and slashes stand
// for dots in names (sysctl.d(5)).
func sysctlFile(key string) string {
	i := strings.IndexAny(key, "./")
	if i < 0 || key[i] == '/' {
		return key
	}
	out := []byte(key)
	for i, c := range out {
		switch c {
		case '.':
			out[i] = '/'
		case '/':
			out[i] = '.'
		}
	}
	return string(out)
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	for i := 1; i < len(keys); i++ {
		for j := i; j > 0 && keys[j] < keys[j-1]; j-- {
			keys[j], keys[j-1] = keys[j-1], keys[j]
		}
	}
	return keys
}

// lookPath is execvp(3): a name with a slash is taken as it is, any other is looked for in PATH.
func lookPath(name string, env []string) LookPath {
	s := LookPath{Origin: "process.args[0]", Name: name}
	if strings.Contains(name, "/") {
		return s
	}
	list, ok := lookup(env, "PATH")
	if !ok {
		list = defaultPath
	}
	for _, d := range strings.Split(list, ":") {
		if d == "" {
			d = "."
		}
		s.Dirs = append(s.Dirs, d)
	}
	return s
}

// environment joins both lists; of duplicates the last wins, at the place of the first, as runc does.
func environment(lists ...[]string) []string {
	var out []string
	for _, l := range lists {
		for _, e := range l {
			name, _, ok := strings.Cut(e, "=")
			if !ok || name == "" {
				out = append(out, e)
				continue
			}
			out = setEnv(out, name, e[len(name)+1:])
		}
	}
	return out
}

func lookup(env []string, name string) (string, bool) {
	for _, e := range env {
		if strings.HasPrefix(e, name) && len(e) > len(name) && e[len(name)] == '=' {
			return e[len(name)+1:], true
		}
	}
	return "", false
}

func setEnv(env []string, name, value string) []string {
	for i, e := range env {
		if strings.HasPrefix(e, name) && len(e) > len(name) && e[len(name)] == '=' {
			env[i] = name + "=" + value
			return env
		}
	}
	return append(env, name+"="+value)
}

func unsetEnv(env []string, name string) []string {
	for i, e := range env {
		if strings.HasPrefix(e, name+"=") {
			return append(env[:i:i], env[i+1:]...)
		}
	}
	return env
}

func clean(p string) string { return path.Clean("/" + p) }
