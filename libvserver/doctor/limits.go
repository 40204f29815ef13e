package doctor

import (
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

func (e *examiner) limits() {
	e.section = "limits"
	e.rlimit("open files", unix.RLIMIT_NOFILE, 1024, "containers whose process.rlimits ask for more are refused without CAP_SYS_RESOURCE")
	e.rlimit("processes", unix.RLIMIT_NPROC, 1024, "containers of this user share that many processes")
	for _, ns := range [...]string{"mnt", "pid", "net", "ipc", "uts", "cgroup", "user", "time"} {
		name := "user.max_" + ns + "_namespaces"
		n, err := readNumber("/proc/sys/user/max_" + ns + "_namespaces")
		if err == nil && n < 64 {
			add := e.lacking
			if n == 0 && ns != "user" && ns != "time" {
				add = e.failed
			}
			add(name, strconv.FormatUint(n, 10), "no more "+ns+" namespaces than that: sysctl -w "+name+"=65536")
		}
	}
	if n, err := readNumber("/proc/sys/fs/mount-max"); err == nil {
		if n < 1000 {
			e.lacking("fs.mount-max", strconv.FormatUint(n, 10), "mount namespaces can't hold more mounts: sysctl -w fs.mount-max=100000")
		} else {
			e.ok("fs.mount-max", strconv.FormatUint(n, 10))
		}
	}
	if n, err := readNumber("/proc/sys/kernel/pid_max"); err == nil {
		e.ok("kernel.pid_max", strconv.FormatUint(n, 10))
	}
	e.keys()
	if s, err := readWord("/proc/sys/vm/memfd_noexec"); err == nil && s == "2" {
		e.lacking("vm.memfd_noexec", s, "no program can run from memory: vsrun's helper (seccomp) must be installed as a file, or sysctl -w vm.memfd_noexec=1")
	}
}

// rlimit checks a hard limit.
func (e *examiner) rlimit(name string, resource int, least uint64, advice string) {
	var l unix.Rlimit
	if err := unix.Getrlimit(resource, &l); err != nil {
		e.lacking(name, err.Error(), "")
		return
	}
	detail := fmt.Sprintf("soft %s, hard %s", limit(l.Cur), limit(l.Max))
	if l.Max < least {
		e.lacking(name, detail, advice)
		return
	}
	e.ok(name, detail)
}

func limit(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}

// keys checks the quota of session keyrings: each container takes one.
func (e *examiner) keys() {
	name := "kernel.keys.maxkeys"
	if e.privileged {
		name = "kernel.keys.root_maxkeys"
	}
	path := "/proc/sys/kernel/keys/" + name[len("kernel.keys."):]
	switch n, err := readNumber(path); {
	case err != nil: // no keyrings in this kernel
	case n < 1000:
		e.lacking(name, strconv.FormatUint(n, 10), "about that many containers can have a session keyring: sysctl -w "+name+"=20000, or --no-new-keyring")
	default:
		e.ok(name, strconv.FormatUint(n, 10))
	}
}

func readNumber(path string) (uint64, error) {
	s, err := readWord(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(s, 10, 64)
}
