package spec

import (
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// seccompActions is what linux.seccomp may name as an action.
var seccompActions = [...]string{"SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP", "SCMP_ACT_ERRNO",
	"SCMP_ACT_TRACE", "SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY"}

// seccomp checks linux.seccomp (config-linux.md, "Seccomp").
func (c *checker) seccomp(s *specs.LinuxSeccomp) {
	if s == nil {
		return
	}
	const path = "linux.seccomp"
	c.known(top(path+".defaultAction"), "action", string(s.DefaultAction), seccompActions[:])
	c.errnoRet(top(path+".defaultErrnoRet"), s.DefaultErrnoRet, s.DefaultAction)
	for i, a := range s.Architectures {
		c.known(at(path+".architectures", i, ""), "architecture", string(a), seccompArchs[:])
	}
	for i, f := range s.Flags {
		c.known(at(path+".flags", i, ""), "flag", string(f), []string{"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
			"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"})
	}
	notify := s.DefaultAction == specs.ActNotify
	for i := range s.Syscalls {
		call := &s.Syscalls[i]
		c.syscall(i, call)
		notify = notify || call.Action == specs.ActNotify
	}
	if s.ListenerPath == "" {
		if s.ListenerMetadata != "" {
			c.fault(path+".listenerMetadata", "must not be set without listenerPath")
		}
		if notify {
			c.fault(path+".listenerPath", "is required for SCMP_ACT_NOTIFY")
		}
	}
	c.nul(top(path+".listenerPath"), s.ListenerPath)
}

// seccompArchs is what linux.seccomp may name as an architecture.
var seccompArchs = [...]string{"SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_ARM", "SCMP_ARCH_AARCH64", "SCMP_ARCH_MIPS",
	"SCMP_ARCH_MIPS64", "SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PPC",
	"SCMP_ARCH_PPC64", "SCMP_ARCH_PPC64LE", "SCMP_ARCH_S390", "SCMP_ARCH_S390X", "SCMP_ARCH_PARISC", "SCMP_ARCH_PARISC64",
	"SCMP_ARCH_RISCV64", "SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K", "SCMP_ARCH_SH", "SCMP_ARCH_SHEB"}

func (c *checker) syscall(i int, call *specs.LinuxSyscall) {
	const path = "linux.seccomp.syscalls"
	if len(call.Names) == 0 {
		c.faultAt(at(path, i, "names"), "must have at least one entry")
	}
	for j, n := range call.Names {
		if n == "" {
			c.faultAt(at(path, i, "names").in(j, ""), "must not be empty")
		}
	}
	c.known(at(path, i, "action"), "action", string(call.Action), seccompActions[:])
	c.errnoRet(at(path, i, "errnoRet"), call.ErrnoRet, call.Action)
	for j := range call.Args {
		a := &call.Args[j]
		if a.Index > 5 {
			c.faultAt(at(path, i, "args").in(j, "index"), "must be from 0 to 5 (got "+strconv.FormatUint(uint64(a.Index), 10)+")")
		}
		c.known(at(path, i, "args").in(j, "op"), "operator", string(a.Op), []string{"SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT",
			"SCMP_CMP_MASKED_EQ"})
	}
}

// errnoRet checks that an action takes the errno that is given with it.
func (c *checker) errnoRet(l loc, errno *uint, action specs.LinuxSeccompAction) {
	if errno == nil {
		return
	}
	switch action {
	case specs.ActErrno, specs.ActTrace:
		// SECCOMP_RET_DATA has 16 bits.
		if *errno > 0xffff {
			c.faultAt(l, "must not be more than 65535 (got "+strconv.FormatUint(uint64(*errno), 10)+")")
		}
	case "":
	default:
		c.faultAt(l, "cannot be set with "+string(action)+", only with SCMP_ACT_ERRNO and SCMP_ACT_TRACE")
	}
}
