package plan

import (
	"strconv"
	"strings"
)

// Hostname sets the host name in the UTS namespace.
type Hostname struct {
	Origin
	Name string
}

func (s Hostname) String() string { return "set hostname " + strconv.Quote(s.Name) }

// Domainname sets the NIS domain name in the UTS namespace.
type Domainname struct {
	Origin
	Name string
}

func (s Domainname) String() string { return "set domainname " + strconv.Quote(s.Name) }

// Loopback sets the device lo of a new network namespace up.
type Loopback struct{ Origin }

func (Loopback) String() string { return "set the loopback device up" }

// Sysctl writes a kernel parameter.
type Sysctl struct {
	Origin
	Key   string // as in config.json
	File  string // below /proc/sys
	Value string
}

func (s Sysctl) String() string { return "write " + strconv.Quote(s.Value) + " to /proc/sys/" + s.File }

// Rlimit sets a resource limit (setrlimit(2)).
type Rlimit struct {
	Origin
	Name       string
	Resource   int
	Soft, Hard uint64
}

func (s Rlimit) String() string {
	return "set " + s.Name + " to soft " + strconv.FormatUint(s.Soft, 10) + ", hard " + strconv.FormatUint(s.Hard, 10)
}

// OOMScoreAdj writes /proc/self/oom_score_adj.
type OOMScoreAdj struct {
	Origin
	Value int
}

func (s OOMScoreAdj) String() string { return "set oom_score_adj to " + strconv.Itoa(s.Value) }

// Scheduler sets the scheduling policy (sched_setattr(2)).
type Scheduler struct {
	Origin
	Policy                     uint32
	Name                       string
	Flags                      uint64
	Nice                       int32
	Priority                   uint32
	Runtime, Deadline, Period  uint64 // nanoseconds
	UtilClampMin, UtilClampMax uint32
}

func (s Scheduler) String() string { return "set scheduling policy " + s.Name }

// IOPriority sets the I/O scheduling class and priority (ioprio_set(2)).
type IOPriority struct {
	Origin
	Class, Priority int
	Name            string
}

func (s IOPriority) String() string {
	return "set I/O priority " + s.Name + " " + strconv.Itoa(s.Priority)
}

// MemoryPolicy sets the NUMA policy (set_mempolicy(2)).
type MemoryPolicy struct {
	Origin
	Mode  int
	Nodes []uint64 // bit mask
	Name  string
}

func (s MemoryPolicy) String() string { return "set memory policy " + s.Name }

// NullStdio puts the container's /dev/null in the place of the host's, where a standard stream is that: by way of its
// descriptor root in the container could else change the mode and the owner of the host's.
type NullStdio struct {
	Origin
	// Running: the container is there already, and may have no null device any more.
	Running bool
}

func (NullStdio) String() string {
	return "take the container's /dev/null for standard streams that are the host's"
}

// Affinity sets the CPUs that the process may run on (sched_setaffinity(2)).
type Affinity struct {
	Origin
	Mask []uint64
	List string
}

func (s Affinity) String() string { return "run on CPUs " + s.List }

// Personality sets the execution domain (personality(2)).
type Personality struct {
	Origin
	Domain uintptr
	Name   string
}

func (s Personality) String() string { return "set personality " + s.Name }

// NoNewPrivileges sets no_new_privs (prctl(2)).
type NoNewPrivileges struct{ Origin }

func (NoNewPrivileges) String() string { return "set no_new_privs" }

// Capabilities are the five sets (capabilities(7)) as bit masks; nil keeps what execve(2) gives.
type Capabilities struct {
	Bounding, Effective, Permitted, Inheritable, Ambient uint64
}

// User takes the identity and capabilities of the container's process.
type User struct {
	Origin
	UID, GID   uint32
	Groups     []uint32
	SetGroups  bool // false where the user namespace denies setgroups(2)
	Umask      int  // -1: leave
	ChownStdio bool
	Caps       *Capabilities
	// KeepAdmin keeps CAP_SYS_ADMIN until execve(2), for a seccomp filter without no_new_privs.
	KeepAdmin bool
}

func (s User) String() string {
	b := []byte("become uid " + strconv.FormatUint(uint64(s.UID), 10) + " gid " + strconv.FormatUint(uint64(s.GID), 10))
	if len(s.Groups) > 0 {
		const many = 32
		b = append(b, " groups"...)
		for _, g := range s.Groups[:min(len(s.Groups), many)] {
			b = strconv.AppendUint(append(b, ' '), uint64(g), 10)
		}
		if more := len(s.Groups) - many; more > 0 {
			b = append(b, " and "+strconv.Itoa(more)+" more"...)
		}
	}
	if s.Caps != nil {
		b = append(b, " with capabilities 0x"+strconv.FormatUint(s.Caps.Effective, 16)...)
	}
	return string(b)
}

// Label arranges for the LSM label that execve(2) shall switch to, or for that of keyrings which are made until then.
type Label struct {
	Origin
	LSM   string // "apparmor" or "selinux"
	File  string // below /proc/self/attr
	Value string
	Name  string
}

func (s Label) String() string {
	if s.File == keyLabel {
		return "give keyrings the " + s.LSM + " label " + strconv.Quote(s.Name)
	}
	return "switch to the " + s.LSM + " label " + strconv.Quote(s.Name)
}

// keyLabel is the file of keyrings' labels (selinux(8): setkeycreatecon(3)).
const keyLabel = "keycreate"

// Seccomp loads the filter. Insns are filled in by who launches: the compiled form of the profile.
type Seccomp struct {
	Origin
	Filter *Filter
	Notify bool
	// Network: it is not the config's, but what a network context needs besides its BPF programs.
	Network bool
	// Quota: it is not the config's, but keeps root from leaving a disk limit. Filter is there already.
	Quota bool
}

// Filter is a compiled seccomp program: an array of struct sock_filter.
type Filter struct {
	Insns []byte
	Flags uint
}

func (s Seccomp) String() string {
	if s.Network {
		return "load the seccomp filter of the network context"
	}
	if s.Quota {
		return "load the seccomp filter that keeps files in their quota"
	}
	return "load the seccomp filter"
}

// Chdir enters the working directory, and checks that it lies inside the root. It is tried twice: as root, and as the user if
// root (on a network filesystem, say) was refused.
type Chdir struct {
	Origin
	Path  string
	Early bool
}

func (s Chdir) String() string { return "change to directory " + strconv.Quote(s.Path) }

// LookPath finds the executable, as execvp(3) does, with the container's PATH.
type LookPath struct {
	Origin
	Name string
	Dirs []string // where to look; empty if Name has a slash
}

func (s LookPath) String() string {
	if len(s.Dirs) == 0 {
		return "check the executable " + strconv.Quote(s.Name)
	}
	return "look for " + strconv.Quote(s.Name) + " in $PATH"
}

// CloseFDs closes every descriptor but 0, 1, 2, the preserved ones and the runtime's own.
type CloseFDs struct {
	Origin
	Preserve int // how many from 3 on stay open
}

func (s CloseFDs) String() string {
	if s.Preserve == 0 {
		return "close all file descriptors but 0, 1 and 2"
	}
	return "close all file descriptors from " + strconv.Itoa(3+s.Preserve) + " on"
}

// WaitStart waits for `start`.
type WaitStart struct{ Origin }

func (WaitStart) String() string { return "wait for start" }

// Exec replaces the process by the container's program.
type Exec struct {
	Origin
	Args []string
	Env  []string
	// Home: the value of HOME is what came with StageHome.
	Home bool
	// PIDInEnv: LISTEN_PID is the process's own pid.
	ListenPID bool
}

func (s Exec) String() string { return "execute " + strconv.Quote(strings.Join(s.Args, " ")) }
