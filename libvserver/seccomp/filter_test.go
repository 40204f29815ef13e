package seccomp

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/helper"
	"github.com/vsrun/vsrun/libvserver/seccomp/seccomptest"
)

var update = flag.Bool("update", false, "write golden files")

func needHelper(t testing.TB) {
	t.Helper()
	if _, err := helper.ID(); err != nil {
		t.Skip("needs vsrun-helper: ", err)
	}
}

func uintp(v uint) *uint { return &v }

func profileFile(t testing.TB, name string) *specs.LinuxSeccomp {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	p := new(specs.LinuxSeccomp)
	if err := json.Unmarshal(b, p); err != nil {
		t.Fatal(err)
	}
	return p
}

func mustFilter(t testing.TB, p *specs.LinuxSeccomp, dir string) *Program {
	t.Helper()
	prog, err := Filter(p, dir)
	if err != nil {
		t.Fatal(err)
	}
	return prog
}

// rule is one entry of linux.seccomp.syscalls.
func rule(action specs.LinuxSeccompAction, names ...string) specs.LinuxSyscall {
	return specs.LinuxSyscall{Action: action, Names: names}
}

func with(s specs.LinuxSyscall, args ...specs.LinuxSeccompArg) specs.LinuxSyscall {
	s.Args = args
	return s
}

func TestDockerDefaultGolden(t *testing.T) {
	needHelper(t)
	version, err := helper.Run("version", nil)
	if err != nil {
		t.Fatal(err)
	}
	const goldenVersion = "libseccomp 2.5.4\n"
	golden := filepath.Join("testdata", "docker-default.amd64.golden")
	if string(version) != goldenVersion || nativeAudit != x64 {
		t.Skipf("%s is by %s on amd64, this is %s", golden, goldenVersion, version)
	}
	p := profileFile(t, "docker-default.json")
	got := seccomptest.Print(mustFilter(t, p, "").Insns)
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("program differs (-want +got):\n%s", diff)
	}
	if again := seccomptest.Print(mustFilter(t, p, "").Insns); again != got {
		t.Error("two compilations of one profile differ")
	}
}

const (
	x86  = unix.AUDIT_ARCH_I386
	x64  = unix.AUDIT_ARCH_X86_64
	arm  = unix.AUDIT_ARCH_ARM
	arm6 = unix.AUDIT_ARCH_AARCH64
	x32  = 0x40000000 // added to the number
)

// call is a system call and the verdict that it must get.
type call struct {
	arch uint32
	nr   uint32
	args []uint64
	want string
}

func TestMeaning(t *testing.T) {
	needHelper(t)
	if unix.AUDIT_ARCH_X86_64 != nativeAudit {
		t.Skip("the numbers are those of x86-64")
	}
	many := rule(specs.ActErrno, strings.Fields(
		"read open stat lstat poll lseek mmap mprotect munmap brk ioctl pread64 pwrite64 readv writev access pipe select sched_yield "+
			"mremap msync mincore madvise shmget shmat shmctl dup dup2 pause nanosleep getitimer alarm setitimer getpid sendfile")...)
	tests := map[string]struct {
		profile specs.LinuxSeccomp
		calls   []call
	}{
		"deny one": {
			specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{rule(specs.ActErrno, "getcwd")}},
			[]call{
				{x64, unix.SYS_GETCWD, nil, "errno EPERM"},
				{x64, unix.SYS_READ, nil, "allow"},
				{x64, 5000, nil, "allow"},
				{x86, 3, nil, "kill thread"}, // not among the architectures
				{x64, x32 + unix.SYS_GETCWD, nil, "kill thread"},
			},
		},
		"errno of the rule": {
			specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
				{Action: specs.ActErrno, Names: []string{"getcwd"}, ErrnoRet: uintp(uint(unix.ENOTTY))},
				{Action: specs.ActTrace, Names: []string{"getpid"}, ErrnoRet: uintp(40000)},
				{Action: specs.ActTrace, Names: []string{"getppid"}},
				{Action: specs.ActErrno, Names: []string{"getuid"}, ErrnoRet: uintp(0)},
			}},
			[]call{
				{x64, unix.SYS_GETCWD, nil, "errno ENOTTY"},
				{x64, unix.SYS_GETPID, nil, "trace 40000"},
				{x64, unix.SYS_GETPPID, nil, "trace 1"},
				{x64, unix.SYS_GETUID, nil, "errno 0"},
			},
		},
		"every action": {
			specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: "/l", Syscalls: []specs.LinuxSyscall{
				rule(specs.ActKill, "getpid"), rule(specs.ActKillThread, "getppid"), rule(specs.ActKillProcess, "getuid"),
				rule(specs.ActTrap, "getgid"), rule(specs.ActLog, "geteuid"), rule(specs.ActNotify, "getegid"),
				rule(specs.ActTrace, "getsid"), rule(specs.ActErrno, "getpgid"), rule(specs.ActAllow, "getcwd"),
			}},
			[]call{
				{x64, unix.SYS_GETPID, nil, "kill thread"}, {x64, unix.SYS_GETPPID, nil, "kill thread"},
				{x64, unix.SYS_GETUID, nil, "kill process"}, {x64, unix.SYS_GETGID, nil, "trap"},
				{x64, unix.SYS_GETEUID, nil, "log"}, {x64, unix.SYS_GETEGID, nil, "notify"},
				{x64, unix.SYS_GETSID, nil, "trace 1"}, {x64, unix.SYS_GETPGID, nil, "errno EPERM"},
				{x64, unix.SYS_GETCWD, nil, "allow"},
			},
		},
		"enosys stub": {
			specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{rule(specs.ActAllow, "read", "getcwd")}},
			[]call{
				{x64, unix.SYS_READ, nil, "allow"},
				{x64, unix.SYS_WRITE, nil, "errno EPERM"},
				{x64, unix.SYS_GETCWD, nil, "allow"},
				{x64, unix.SYS_GETCWD + 1, nil, "errno ENOSYS"},
				{x64, 0x3fffffff, nil, "errno ENOSYS"},
				{x64, x32 + unix.SYS_READ, nil, "errno ENOSYS"},
			},
		},
		"enosys stub counts rules without effect": {
			specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{rule(specs.ActErrno, "openat2"), rule(specs.ActAllow, "read")}},
			[]call{{x64, unix.SYS_OPENAT2, nil, "errno EPERM"}, {x64, unix.SYS_OPENAT2 + 1, nil, "errno ENOSYS"}},
		},
		"enosys stub also before kill": {
			specs.LinuxSeccomp{DefaultAction: specs.ActKillProcess, Syscalls: []specs.LinuxSyscall{rule(specs.ActAllow, "read")}},
			[]call{{x64, unix.SYS_READ, nil, "allow"}, {x64, unix.SYS_WRITE, nil, "errno ENOSYS"}},
		},
		"no stub: default errno is ENOSYS": {
			specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: uintp(38), Syscalls: []specs.LinuxSyscall{rule(specs.ActAllow, "read")}},
			[]call{{x64, unix.SYS_WRITE, nil, "errno ENOSYS"}, {x64, 5000, nil, "errno ENOSYS"}},
		},
		"no stub: default log": {
			specs.LinuxSeccomp{DefaultAction: specs.ActLog, Syscalls: []specs.LinuxSyscall{rule(specs.ActAllow, "read")}},
			[]call{{x64, unix.SYS_WRITE, nil, "log"}, {x64, 5000, nil, "log"}},
		},
		"no stub: default trace": {
			specs.LinuxSeccomp{DefaultAction: specs.ActTrace, DefaultErrnoRet: uintp(7), Syscalls: []specs.LinuxSyscall{rule(specs.ActAllow, "read")}},
			[]call{{x64, 5000, nil, "trace 7"}},
		},
		"no stub: nothing named": {
			specs.LinuxSeccomp{DefaultAction: specs.ActErrno},
			[]call{{x64, unix.SYS_READ, nil, "errno EPERM"}, {x64, 5000, nil, "errno EPERM"}},
		},
		"no stub: only unknown names": {
			specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{rule(specs.ActAllow, "no_such_call")}},
			[]call{{x64, unix.SYS_READ, nil, "errno EPERM"}, {x64, 5000, nil, "errno EPERM"}},
		},
		"x32 and x86": {
			specs.LinuxSeccomp{
				DefaultAction: specs.ActErrno,
				Architectures: []specs.Arch{specs.ArchX86_64, specs.ArchX32, specs.ArchX86},
				Syscalls:      []specs.LinuxSyscall{rule(specs.ActAllow, "read", "getcwd", "ugetrlimit")},
			},
			[]call{
				{x64, unix.SYS_READ, nil, "allow"},
				{x64, unix.SYS_WRITE, nil, "errno EPERM"},
				{x64, unix.SYS_GETCWD + 1, nil, "errno ENOSYS"},
				{x64, x32 + unix.SYS_GETCWD, nil, "allow"},
				{x64, x32 + unix.SYS_WRITE, nil, "errno EPERM"},
				{x64, x32 + unix.SYS_GETCWD + 1, nil, "errno ENOSYS"},
				{x86, 3, nil, "allow"},          // read
				{x86, 4, nil, "errno EPERM"},    // write
				{x86, 183, nil, "allow"},        // getcwd
				{x86, 191, nil, "allow"},        // ugetrlimit, unknown to x86-64
				{x86, 192, nil, "errno ENOSYS"}, // mmap2
				{x86, x32 + 3, nil, "errno ENOSYS"},
			},
		},
		"arm private calls": {
			specs.LinuxSeccomp{
				DefaultAction: specs.ActErrno,
				Architectures: []specs.Arch{specs.ArchARM, specs.ArchAARCH64},
				Syscalls:      []specs.LinuxSyscall{rule(specs.ActAllow, "read", "cacheflush", "getcwd")},
			},
			[]call{
				{arm, 3, nil, "allow"}, {arm, 4, nil, "errno EPERM"}, {arm, 184, nil, "errno ENOSYS"},
				{arm, 0x0f0002, nil, "allow"}, {arm, 0x0f0005, nil, "errno EPERM"},
				{arm6, 63, nil, "allow"}, {arm6, 64, nil, "errno ENOSYS"}, // getcwd is 17
			},
		},
		"architectures of other byte order and unknown to libseccomp": {
			specs.LinuxSeccomp{
				DefaultAction: specs.ActErrno,
				Architectures: []specs.Arch{specs.ArchS390X, specs.ArchPPC64, specs.ArchLOONGARCH64, specs.ArchSHEB, specs.ArchMIPS},
				Syscalls:      []specs.LinuxSyscall{rule(specs.ActAllow, "read")},
			},
			[]call{{x64, unix.SYS_READ, nil, "allow"}, {x64, 5000, nil, "errno ENOSYS"}},
		},
		"one condition": {
			specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
				with(rule(specs.ActErrno, "socket"), specs.LinuxSeccompArg{Index: 0, Value: 40, Op: specs.OpEqualTo}),
			}},
			[]call{
				{x64, unix.SYS_SOCKET, []uint64{40}, "errno EPERM"},
				{x64, unix.SYS_SOCKET, []uint64{1}, "allow"},
				{x64, unix.SYS_SOCKET, []uint64{1<<32 | 40}, "allow"},
			},
		},
		"conditions on several arguments: and": {
			specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
				with(rule(specs.ActErrno, "socket"),
					specs.LinuxSeccompArg{Index: 0, Value: 2, Op: specs.OpGreaterEqual},
					specs.LinuxSeccompArg{Index: 1, Value: 3, Op: specs.OpLessThan}),
			}},
			[]call{
				{x64, unix.SYS_SOCKET, []uint64{2, 2}, "errno EPERM"},
				{x64, unix.SYS_SOCKET, []uint64{1, 2}, "allow"},
				{x64, unix.SYS_SOCKET, []uint64{2, 3}, "allow"},
			},
		},
		"conditions on one argument: or": {
			specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{
				with(rule(specs.ActAllow, "personality"),
					specs.LinuxSeccompArg{Index: 0, Value: 0, Op: specs.OpEqualTo},
					specs.LinuxSeccompArg{Index: 0, Value: 8, Op: specs.OpEqualTo},
					specs.LinuxSeccompArg{Index: 1, Value: 5, Op: specs.OpGreaterThan}),
			}},
			[]call{
				{x64, unix.SYS_PERSONALITY, []uint64{0}, "allow"},
				{x64, unix.SYS_PERSONALITY, []uint64{8}, "allow"},
				{x64, unix.SYS_PERSONALITY, []uint64{7, 6}, "allow"},
				{x64, unix.SYS_PERSONALITY, []uint64{7, 5}, "errno EPERM"},
			},
		},
		"masked": {
			specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
				with(rule(specs.ActErrno, "clone"), specs.LinuxSeccompArg{Index: 0, Value: 0xf0, ValueTwo: 0x30, Op: specs.OpMaskedEqual}),
			}},
			[]call{
				{x64, unix.SYS_CLONE, []uint64{0x130}, "errno EPERM"},
				{x64, unix.SYS_CLONE, []uint64{0x3f}, "errno EPERM"},
				{x64, unix.SYS_CLONE, []uint64{0x70}, "allow"},
				{x64, unix.SYS_CLONE, []uint64{0xf0}, "allow"},
			},
		},
		"other operators": {
			specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
				with(rule(specs.ActErrno, "getpgid"), specs.LinuxSeccompArg{Index: 5, Value: 1 << 40, Op: specs.OpNotEqual}),
				with(rule(specs.ActErrno, "getsid"), specs.LinuxSeccompArg{Index: 2, Value: 9, Op: specs.OpLessEqual}),
			}},
			[]call{
				{x64, unix.SYS_GETPGID, []uint64{0, 0, 0, 0, 0, 1 << 40}, "allow"},
				{x64, unix.SYS_GETPGID, []uint64{0, 0, 0, 0, 0, 0}, "errno EPERM"},
				{x64, unix.SYS_GETSID, []uint64{0, 0, 9}, "errno EPERM"},
				{x64, unix.SYS_GETSID, []uint64{0, 0, 10}, "allow"},
			},
		},
		"binary tree": {
			specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{many}},
			[]call{
				{x64, unix.SYS_READ, nil, "errno EPERM"}, {x64, unix.SYS_SENDFILE, nil, "errno EPERM"},
				{x64, unix.SYS_WRITE, nil, "allow"}, {x64, 5000, nil, "allow"},
			},
		},
		"many names without effect": { // the tree of an empty filter is broken in libseccomp
			specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{many}},
			[]call{{x64, unix.SYS_READ, nil, "errno EPERM"}, {x64, unix.SYS_WRITE, nil, "errno EPERM"}, {x64, 5000, nil, "errno ENOSYS"}},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			prog := mustFilter(t, &tc.profile, "")
			for _, c := range tc.calls {
				d := seccomptest.Data{Nr: c.nr, Arch: c.arch}
				copy(d.Args[:], c.args)
				ret, err := seccomptest.Run(prog.Insns, d)
				if err != nil {
					t.Fatal(err)
				}
				if got := seccomptest.Verdict(ret); got != c.want {
					t.Errorf("arch %#x call %#x%v: %s, want %s", c.arch, c.nr, c.args, got, c.want)
				}
			}
			if t.Failed() {
				t.Log(seccomptest.Print(prog.Insns))
			}
		})
	}
}

func TestUnknownNames(t *testing.T) {
	needHelper(t)
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
		rule(specs.ActErrno, "no_such_call", "getcwd"), rule(specs.ActLog, "nor_this", "no_such_call"),
	}}
	want := []string{"no_such_call", "nor_this"}
	dir := filepath.Join(t.TempDir(), "cache")
	for _, cached := range []bool{false, true} {
		prog := mustFilter(t, p, dir)
		if prog.Cached != cached {
			t.Errorf("Cached = %v, want %v", prog.Cached, cached)
		}
		if diff := cmp.Diff(want, prog.Unknown()); diff != "" {
			t.Errorf("unknown names (-want +got):\n%s", diff)
		}
	}
}

func TestNoFilter(t *testing.T) {
	for _, p := range []*specs.LinuxSeccomp{nil, {}} {
		if prog, err := Filter(p, ""); prog != nil || err != nil {
			t.Errorf("Filter(%v) = %v, %v, want no program and no error", p, prog, err)
		}
	}
}

func TestFlags(t *testing.T) {
	type flags = []specs.LinuxSeccompFlag
	tests := map[string]struct {
		flags  flags
		notify bool
		want   uint32
		err    string
	}{
		"not given":          {flags: nil, want: 4},
		"not given, notify":  {flags: nil, notify: true, want: 4 | 8},
		"empty":              {flags: flags{}, want: 0},
		"log":                {flags: flags{specs.LinuxSeccompFlagLog}, want: 2},
		"tsync":              {flags: flags{"SECCOMP_FILTER_FLAG_TSYNC"}, want: 0},
		"all":                {flags: flags{"SECCOMP_FILTER_FLAG_TSYNC", specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow}, want: 6},
		"wait, no listener":  {flags: flags{specs.LinuxSeccompFlagWaitKillableRecv}, want: 0},
		"wait with listener": {flags: flags{specs.LinuxSeccompFlagWaitKillableRecv}, notify: true, want: 32 | 8},
		"unknown":            {flags: flags{specs.LinuxSeccompFlagLog, "NO_SUCH"}, err: `linux.seccomp.flags[1]: unknown flag "NO_SUCH"`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := filterFlags(tc.flags, tc.notify)
			if strings.Contains(name, "wait") && !flagSupported(32) {
				t.Skip("needs Linux 5.19: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV")
			}
			if text := errText(err); text != tc.err || got != tc.want {
				t.Errorf("flags %#x, error %q; want %#x, %q", got, text, tc.want, tc.err)
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestBadProfiles(t *testing.T) {
	ok := rule(specs.ActAllow, "read")
	tests := map[string]struct {
		profile specs.LinuxSeccomp
		want    string
	}{
		"no default":         {specs.LinuxSeccomp{Syscalls: []specs.LinuxSyscall{ok}}, "linux.seccomp.defaultAction: missing"},
		"unknown default":    {specs.LinuxSeccomp{DefaultAction: "X"}, `linux.seccomp.defaultAction: unknown action "X"`},
		"default notify":     {specs.LinuxSeccomp{DefaultAction: specs.ActNotify, ListenerPath: "/l"}, "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default"},
		"default errno":      {specs.LinuxSeccomp{DefaultAction: specs.ActAllow, DefaultErrnoRet: uintp(1)}, "linux.seccomp.defaultErrnoRet: SCMP_ACT_ALLOW takes no errno"},
		"default errno size": {specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: uintp(4096)}, "linux.seccomp.defaultErrnoRet: 4096 is more than 4095"},
		"metadata":           {specs.LinuxSeccomp{DefaultAction: specs.ActErrno, ListenerMetadata: "m"}, "linux.seccomp.listenerMetadata: set, but linux.seccomp.listenerPath is not"},
		"architecture":       {specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: []specs.Arch{specs.ArchX86, "amd64"}}, `linux.seccomp.architectures[1]: unknown architecture "amd64"`},
		"flag":               {specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Flags: []specs.LinuxSeccompFlag{"F"}}, `linux.seccomp.flags[0]: unknown flag "F"`},
	}
	rules := map[string]struct {
		rule specs.LinuxSyscall
		want string
	}{
		"no action":       {rule("", "read"), "action: missing"},
		"unknown action":  {rule("SCMP_ACT_NO", "read"), `action: unknown action "SCMP_ACT_NO"`},
		"errno of allow":  {specs.LinuxSyscall{Action: specs.ActAllow, Names: []string{"read"}, ErrnoRet: uintp(1)}, "errnoRet: SCMP_ACT_ALLOW takes no errno"},
		"errno of notify": {specs.LinuxSyscall{Action: specs.ActNotify, Names: []string{"read"}, ErrnoRet: uintp(1)}, "errnoRet: SCMP_ACT_NOTIFY takes no errno"},
		"errno size":      {specs.LinuxSyscall{Action: specs.ActTrace, Names: []string{"read"}, ErrnoRet: uintp(65536)}, "errnoRet: 65536 is more than 65535"},
		"no listener":     {rule(specs.ActNotify, "read"), "action: SCMP_ACT_NOTIFY needs linux.seccomp.listenerPath"},
		"no names":        {rule(specs.ActLog), "names: 0 entries, must be 1 to 65535"},
		"empty name":      {rule(specs.ActLog, "read", ""), `names[1]: "" is not a system call's name`},
		"name with NUL":   {rule(specs.ActLog, "read\x00x"), `names[0]: "read\x00x" is not a system call's name`},
		"argument":        {with(rule(specs.ActLog, "read"), specs.LinuxSeccompArg{Index: 6, Op: specs.OpEqualTo}), "args[0].index: 6, but system calls have arguments 0 to 5"},
		"operator":        {with(rule(specs.ActLog, "read"), specs.LinuxSeccompArg{Index: 5, Op: specs.OpEqualTo}, specs.LinuxSeccompArg{Op: "="}), `args[1].op: unknown operator "="`},
	}
	for name, tc := range rules {
		tests[name] = struct {
			profile specs.LinuxSeccomp
			want    string
		}{specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Syscalls: []specs.LinuxSyscall{ok, tc.rule}}, "linux.seccomp.syscalls[1]." + tc.want}
	}
	tests["notify of write"] = struct {
		profile specs.LinuxSeccomp
		want    string
	}{specs.LinuxSeccomp{DefaultAction: specs.ActAllow, ListenerPath: "/l", Syscalls: []specs.LinuxSyscall{rule(specs.ActNotify, "read", "write")}},
		"linux.seccomp.syscalls[0].names[1]: SCMP_ACT_NOTIFY cannot be used for write"}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			prog, err := Filter(&tc.profile, "")
			if errText(err) != tc.want || prog != nil {
				t.Errorf("program %v, error\n%q, want\n%q", prog, errText(err), tc.want)
			}
		})
	}
}

// TestKnown checks that everything that is listed is accepted, and that the
// lists are sorted.
func TestKnown(t *testing.T) {
	for _, a := range KnownActions() {
		if kindOf(specs.LinuxSeccompAction(a)) == 0 || !ActionSupported(a) {
			t.Errorf("action %s is listed but not accepted", a)
		}
	}
	for _, o := range KnownOperators() {
		if opOf(specs.LinuxSeccompOperator(o)) == 0 {
			t.Errorf("operator %s is listed but not accepted", o)
		}
	}
	seen := make(map[any]bool)
	for _, a := range KnownArchs() {
		if n := archOf(specs.Arch(a)); n == 0 || seen[n] {
			t.Errorf("architecture %s is listed but not accepted", a)
		} else {
			seen[n] = true
		}
	}
	for _, f := range SupportedFlags() {
		if _, ok := flagOf(f); !ok {
			t.Errorf("flag %s is listed but not accepted", f)
		}
	}
	if len(SupportedFlags()) < 3 {
		t.Errorf("supported flags: %q; TSYNC, LOG and SPEC_ALLOW are older than any kernel vsrun runs on", SupportedFlags())
	}
	for _, list := range [][]string{KnownActions(), KnownOperators(), KnownArchs(), KnownFlags()} {
		for i := 1; i < len(list); i++ {
			if list[i-1] >= list[i] {
				t.Errorf("%s before %s", list[i-1], list[i])
			}
		}
	}
	if flagSupported(1 << 30) {
		t.Error("a flag that no kernel has is said to be supported")
	}
	if ActionSupported("SCMP_ACT_X") {
		t.Error("an action that no kernel has is said to be supported")
	}
}

func TestAllArchsCompile(t *testing.T) {
	needHelper(t)
	for _, a := range KnownArchs() {
		p := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, Architectures: []specs.Arch{specs.Arch(a)}, Syscalls: []specs.LinuxSyscall{rule(specs.ActAllow, "read")}}
		if _, err := Filter(p, ""); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
}

// TestTooLong has a profile whose program the kernel would not take.
func TestTooLong(t *testing.T) {
	needHelper(t)
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	for v := range uint64(2000) {
		p.Syscalls = append(p.Syscalls, with(rule(specs.ActErrno, "personality"), specs.LinuxSeccompArg{Value: v<<32 | v, Op: specs.OpEqualTo}))
	}
	prog, err := Filter(p, "")
	if err == nil {
		t.Errorf("a program of %d instructions passed", len(prog.Insns)/8)
	} else if !strings.Contains(err.Error(), "linux.seccomp") {
		t.Errorf("error does not name its place: %v", err)
	}
}
