package main

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

type fd struct {
	FD     int    `json:"fd"`
	Target string `json:"target"`
}

// openFDs asks for each number instead of reading /proc/self/fd, which would
// open one more and which a container may lack.
func openFDs() []fd {
	found := []fd{}
	buf := make([]byte, 4096)
	for i := range 1024 {
		if _, err := unix.FcntlInt(uintptr(i), unix.F_GETFD, 0); err != nil {
			continue
		}
		n, _ := unix.Readlink("/proc/self/fd/"+strconv.Itoa(i), buf)
		found = append(found, fd{i, string(buf[:max(n, 0)])})
	}
	return found
}

func facts() map[string]func() any {
	return map[string]func() any{
		"pid":        func() any { return os.Getpid() },
		"ppid":       func() any { return os.Getppid() },
		"sid":        func() any { s, _ := unix.Getsid(0); return s },
		"pgid":       func() any { p, _ := unix.Getpgid(0); return p },
		"ids":        ids,
		"groups":     func() any { g, _ := os.Getgroups(); slices.Sort(g); return g },
		"umask":      func() any { m := unix.Umask(0); unix.Umask(m); return "0" + strconv.FormatInt(int64(m), 8) },
		"caps":       caps,
		"nnp":        func() any { return status("NoNewPrivs") == "1" },
		"seccomp":    func() any { return status("Seccomp") },
		"rlimits":    rlimits,
		"cwd":        func() any { d, _ := os.Getwd(); return d },
		"env":        func() any { return os.Environ() },
		"args":       func() any { return os.Args },
		"uts":        uts,
		"mounts":     mounts,
		"ns":         namespaces,
		"oom":        func() any { return read("/proc/self/oom_score_adj") },
		"nice":       func() any { n, _ := unix.Getpriority(unix.PRIO_PROCESS, 0); return 20 - n },
		"affinity":   func() any { return status("Cpus_allowed_list") },
		"dumpable":   func() any { d, _ := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); return d },
		"subreaper":  subreaper,
		"pdeathsig":  func() any { s := pdeathsig(); return s },
		"cgroup":     func() any { return read("/proc/self/cgroup") },
		"blocked":    func() any { return status("SigBlk") },
		"ignored":    func() any { return status("SigIgn") },
		"domainname": func() any { return read("/proc/sys/kernel/domainname") },
	}
}

func read(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return strings.TrimRight(string(b), "\n")
}

func status(key string) string {
	for line := range strings.Lines(read("/proc/thread-self/status")) {
		if v, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func ids() any {
	ru, eu, su := unix.Getresuid()
	rg, eg, sg := unix.Getresgid()
	return map[string]any{"ruid": ru, "euid": eu, "suid": su, "rgid": rg, "egid": eg, "sgid": sg}
}

func caps() any {
	return map[string]any{"inh": status("CapInh"), "prm": status("CapPrm"), "eff": status("CapEff"),
		"bnd": status("CapBnd"), "amb": status("CapAmb")}
}

var limitNames = []string{"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS",
	"LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"} // by number, setrlimit(2)

// rlimits tells the soft and hard values; -1 is infinity. Go itself lifts
// the soft NOFILE of its programs: ask a shell for that one.
func rlimits() any {
	m := map[string][2]int64{}
	for i, name := range limitNames {
		var r unix.Rlimit
		if unix.Getrlimit(i, &r) == nil {
			m["RLIMIT_"+name] = [2]int64{int64(r.Cur), int64(r.Max)}
		}
	}
	return m
}

func uts() any {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err.Error()
	}
	return map[string]string{"node": unix.ByteSliceToString(u.Nodename[:]),
		"domain": unix.ByteSliceToString(u.Domainname[:]), "machine": unix.ByteSliceToString(u.Machine[:])}
}

func namespaces() any {
	m := map[string]string{}
	for _, n := range []string{"pid", "net", "ipc", "uts", "mnt", "user", "cgroup", "time"} {
		m[n], _ = os.Readlink("/proc/self/ns/" + n)
	}
	return m
}

type mount struct {
	Root        string `json:"root"`
	Dst         string `json:"dst"`
	Opts        string `json:"opts"`
	Propagation string `json:"propagation"`
	Type        string `json:"type"`
	Src         string `json:"src"`
	Super       string `json:"super"`
}

func mounts() any {
	found := []mount{}
	for line := range strings.Lines(read("/proc/self/mountinfo")) {
		pre, post, _ := strings.Cut(strings.TrimSpace(line), " - ")
		a, b := strings.Fields(pre), strings.Fields(post)
		if len(a) < 6 || len(b) < 3 {
			continue
		}
		m := mount{Root: a[3], Dst: a[4], Opts: a[5], Type: b[0], Src: b[1], Super: b[2], Propagation: "private"}
		for _, tag := range a[6:] {
			kind, _, _ := strings.Cut(tag, ":")
			switch kind {
			case "shared", "unbindable":
				m.Propagation = kind
			case "master":
				if m.Propagation == "private" {
					m.Propagation = "slave"
				}
			}
		}
		found = append(found, m)
	}
	return found
}
