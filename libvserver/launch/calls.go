package launch

import "golang.org/x/sys/unix"

// callName is the name of the system call of an instruction.
func callName(in *insn) string {
	switch in.op {
	case opJump:
		return "jump"
	case opFail:
		return "fail"
	case opIf, opIfNot, opIfArg:
		return "if"
	case opLoad, opSet, opStore:
		return "set"
	case opTell:
		return "tell"
	case opAwait:
		return "await"
	case opReady:
		return "ready"
	}
	switch in.nr {
	case unix.SYS_UMASK:
		return "umask"
	case unix.SYS_SETNS:
		return "setns"
	case unix.SYS_UNSHARE:
		return "unshare"
	case unix.SYS_SETGROUPS:
		return "setgroups"
	case unix.SYS_SETRESGID:
		return "setresgid"
	case unix.SYS_SETRESUID:
		return "setresuid"
	case unix.SYS_SETSID:
		return "setsid"
	case unix.SYS_KEYCTL:
		return "keyctl"
	case unix.SYS_SETHOSTNAME:
		return "sethostname"
	case unix.SYS_SETDOMAINNAME:
		return "setdomainname"
	case unix.SYS_CHROOT:
		return "chroot"
	case unix.SYS_CHDIR:
		return "chdir"
	case unix.SYS_FCHDIR:
		return "fchdir"
	case unix.SYS_WRITE:
		return "write"
	case unix.SYS_CLOSE:
		return "close"
	case unix.SYS_CLOSE_RANGE:
		return "close_range"
	case unix.SYS_OPENAT:
		return "openat"
	case unix.SYS_OPENAT2:
		return "openat2"
	case unix.SYS_OPEN_TREE:
		return "open_tree"
	case unix.SYS_MOVE_MOUNT:
		return "move_mount"
	case unix.SYS_MOUNT_SETATTR:
		return "mount_setattr"
	case unix.SYS_FSOPEN:
		return "fsopen"
	case unix.SYS_FSCONFIG:
		return "fsconfig"
	case unix.SYS_FSMOUNT:
		return "fsmount"
	case unix.SYS_PIVOT_ROOT:
		return "pivot_root"
	case unix.SYS_UMOUNT2:
		return "umount2"
	case unix.SYS_MKDIRAT:
		return "mkdirat"
	case unix.SYS_MKNODAT:
		return "mknodat"
	case unix.SYS_SYMLINKAT:
		return "symlinkat"
	case unix.SYS_UNLINKAT:
		return "unlinkat"
	case unix.SYS_FCHMODAT:
		return "fchmodat"
	case unix.SYS_FCHOWNAT:
		return "fchownat"
	case unix.SYS_FCHOWN:
		return "fchown"
	case unix.SYS_FACCESSAT:
		return "faccessat"
	case unix.SYS_FACCESSAT2:
		return "faccessat2"
	case unix.SYS_NEWFSTATAT, unix.SYS_FSTAT:
		return "stat"
	case unix.SYS_PRLIMIT64:
		return "prlimit"
	case unix.SYS_PRCTL:
		return "prctl"
	case unix.SYS_CAPSET:
		return "capset"
	case unix.SYS_SECCOMP:
		return "seccomp"
	case unix.SYS_RT_SIGPROCMASK:
		return "rt_sigprocmask"
	case unix.SYS_EXECVE:
		return "execve"
	case unix.SYS_IOCTL:
		return "ioctl"
	case unix.SYS_DUP3:
		return "dup3"
	case unix.SYS_SENDMSG:
		return "sendmsg"
	case unix.SYS_GETCWD:
		return "getcwd"
	case unix.SYS_SCHED_SETATTR:
		return "sched_setattr"
	case unix.SYS_SCHED_SETAFFINITY:
		return "sched_setaffinity"
	case unix.SYS_IOPRIO_SET:
		return "ioprio_set"
	case unix.SYS_SET_MEMPOLICY:
		return "set_mempolicy"
	case unix.SYS_PERSONALITY:
		return "personality"
	}
	return "syscall"
}
