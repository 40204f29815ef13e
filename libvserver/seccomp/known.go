package seccomp

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/seccomp/wire"
)

// flagTsync is not in specs-go, but in the specification's list.
const flagTsync = "SECCOMP_FILTER_FLAG_TSYNC"

// KnownActions returns the actions that a profile may name, sorted.
func KnownActions() []string {
	return []string{
		string(specs.ActAllow),
		string(specs.ActErrno),
		string(specs.ActKill),
		string(specs.ActKillProcess),
		string(specs.ActKillThread),
		string(specs.ActLog),
		string(specs.ActNotify),
		string(specs.ActTrace),
		string(specs.ActTrap),
	}
}

func kindOf(name specs.LinuxSeccompAction) wire.Kind {
	switch name {
	case specs.ActAllow:
		return wire.Allow
	case specs.ActErrno:
		return wire.Errno
	case specs.ActKill, specs.ActKillThread:
		return wire.KillThread
	case specs.ActKillProcess:
		return wire.KillProcess
	case specs.ActTrap:
		return wire.Trap
	case specs.ActTrace:
		return wire.Trace
	case specs.ActLog:
		return wire.Log
	case specs.ActNotify:
		return wire.Notify
	}
	return 0
}

// KnownOperators returns the operators that a profile may name, sorted.
func KnownOperators() []string {
	return []string{
		string(specs.OpEqualTo),
		string(specs.OpGreaterEqual),
		string(specs.OpGreaterThan),
		string(specs.OpLessEqual),
		string(specs.OpLessThan),
		string(specs.OpMaskedEqual),
		string(specs.OpNotEqual),
	}
}

func opOf(name specs.LinuxSeccompOperator) wire.Op {
	switch name {
	case specs.OpNotEqual:
		return wire.NotEqual
	case specs.OpLessThan:
		return wire.Less
	case specs.OpLessEqual:
		return wire.LessEqual
	case specs.OpEqualTo:
		return wire.Equal
	case specs.OpGreaterEqual:
		return wire.GreaterEqual
	case specs.OpGreaterThan:
		return wire.Greater
	case specs.OpMaskedEqual:
		return wire.MaskedEqual
	}
	return 0
}

// KnownArchs returns the architectures that a profile may name, sorted. Those
// of other machines are accepted without effect when libseccomp has no use for
// them.
func KnownArchs() []string {
	return []string{
		string(specs.ArchAARCH64),
		string(specs.ArchARM),
		string(specs.ArchLOONGARCH64),
		string(specs.ArchM68K),
		string(specs.ArchMIPS),
		string(specs.ArchMIPS64),
		string(specs.ArchMIPS64N32),
		string(specs.ArchMIPSEL),
		string(specs.ArchMIPSEL64),
		string(specs.ArchMIPSEL64N32),
		string(specs.ArchPARISC),
		string(specs.ArchPARISC64),
		string(specs.ArchPPC),
		string(specs.ArchPPC64),
		string(specs.ArchPPC64LE),
		string(specs.ArchRISCV64),
		string(specs.ArchS390),
		string(specs.ArchS390X),
		string(specs.ArchSH),
		string(specs.ArchSHEB),
		string(specs.ArchX32),
		string(specs.ArchX86),
		string(specs.ArchX86_64),
	}
}

func archOf(name specs.Arch) wire.Arch {
	switch name {
	case specs.ArchX86:
		return wire.X86
	case specs.ArchX86_64:
		return wire.X86_64
	case specs.ArchX32:
		return wire.X32
	case specs.ArchARM:
		return wire.ARM
	case specs.ArchAARCH64:
		return wire.AARCH64
	case specs.ArchMIPS:
		return wire.MIPS
	case specs.ArchMIPS64:
		return wire.MIPS64
	case specs.ArchMIPS64N32:
		return wire.MIPS64N32
	case specs.ArchMIPSEL:
		return wire.MIPSEL
	case specs.ArchMIPSEL64:
		return wire.MIPSEL64
	case specs.ArchMIPSEL64N32:
		return wire.MIPSEL64N32
	case specs.ArchPPC:
		return wire.PPC
	case specs.ArchPPC64:
		return wire.PPC64
	case specs.ArchPPC64LE:
		return wire.PPC64LE
	case specs.ArchS390:
		return wire.S390
	case specs.ArchS390X:
		return wire.S390X
	case specs.ArchPARISC:
		return wire.PARISC
	case specs.ArchPARISC64:
		return wire.PARISC64
	case specs.ArchRISCV64:
		return wire.RISCV64
	case specs.ArchLOONGARCH64:
		return wire.LOONGARCH64
	case specs.ArchM68K:
		return wire.M68K
	case specs.ArchSH:
		return wire.SH
	case specs.ArchSHEB:
		return wire.SHEB
	}
	return 0
}

// KnownFlags returns the filter flags that a profile may name, sorted.
func KnownFlags() []string {
	return []string{
		string(specs.LinuxSeccompFlagLog),
		string(specs.LinuxSeccompFlagSpecAllow),
		flagTsync,
		string(specs.LinuxSeccompFlagWaitKillableRecv),
	}
}

// SupportedFlags returns those of KnownFlags that this kernel takes. libseccomp
// has no say: vsrun passes the flags to the kernel itself.
func SupportedFlags() []string {
	flags := KnownFlags()
	n := 0
	for _, name := range flags {
		if flag, ok := flagOf(name); ok && flagSupported(flag) {
			flags[n] = name
			n++
		}
	}
	return flags[:n]
}

func flagOf(name string) (flag uint32, ok bool) {
	switch name {
	case flagTsync:
		return unix.SECCOMP_FILTER_FLAG_TSYNC, true
	case string(specs.LinuxSeccompFlagLog):
		return unix.SECCOMP_FILTER_FLAG_LOG, true
	case string(specs.LinuxSeccompFlagSpecAllow):
		return unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, true
	case string(specs.LinuxSeccompFlagWaitKillableRecv):
		return unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, true
	}
	return 0, false
}
