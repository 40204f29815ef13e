package doctor

import (
	"errors"
	"os"
	"strings"

	"github.com/vsrun/vsrun/libvserver/host"
)

// need is a kernel feature and what it is good for.
type need struct {
	feature *host.Feature
	needed  bool   // no bundle runs without it
	use     string // what is lost without it
}

const upgrade = "no container can start without it: boot Linux 5.15 or newer"

// feature adds the check of a kernel feature.
func (e *examiner) feature(n need) {
	c := Check{Name: n.feature.Name, Since: n.feature.Since, Advice: n.use}
	err := n.feature.Err()
	var missing *host.Unsupported
	switch {
	case err == nil:
	case errors.As(err, &missing):
		c.Verdict, c.Detail = Lacking, missing.Hint()
	case !e.privileged:
		c.Verdict, c.Detail = Lacking, "only root can tell"
	default:
		c.Verdict, c.Detail = Lacking, err.Error()
	}
	if err != nil && n.needed {
		c.Verdict = Failed
	}
	e.add(c)
}

func (e *examiner) features(needs ...need) {
	for _, n := range needs {
		e.feature(n)
	}
}

func (e *examiner) kernel() {
	e.section = "kernel"
	e.ok("Linux", host.KernelRelease())
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		e.failed("/proc", err.Error(), "mount procfs: mount -t proc proc /proc")
	} else {
		e.ok("/proc", "mounted")
	}
	e.features(
		need{host.Clone3, true, upgrade},
		need{host.CloneClearSighand, true, upgrade},
		need{host.PidfdOpen, false, "signals go by pid, which can hit a later process of the same pid"},
		need{host.PidfdSendSignal, false, "signals go by pid, which can hit a later process of the same pid"},
		need{host.CloseRange, true, upgrade},
		need{host.Openat2, true, upgrade},
		need{host.Faccessat2, true, upgrade},
		need{host.MountAPI, true, upgrade},
		need{host.MountSetattr, true, upgrade},
		need{host.IdmappedMounts, false, "bundles whose mounts have uidMappings can't run"},
		need{host.Nosymfollow, false, "bundles with the mount option nosymfollow can't run"},
		need{host.Mqueue, true, "bundles that mount mqueue, as the default ones do, can't run: use a kernel with it, or drop the mount"},
		need{host.Overlay, false, "no unified rootfs: load it with modprobe overlay"},
		need{host.OverlayMetacopy, false, "guests get a copy of a file when only its owner, mode or time changes"},
		need{host.Keyrings, false, "containers share the caller's session keyring: run with --no-new-keyring"},
		need{host.AmbientCaps, false, "bundles with process.capabilities.ambient can't run"},
		need{host.CoreScheduling, false, "the environment variable SCHED_CORE has no effect"},
		need{host.MemoryPolicy, false, "bundles with linux.memoryPolicy can't run"},
		need{host.Resctrl, false, "bundles with linux.intelRdt can't run; if the processor has it, mount -t resctrl resctrl /sys/fs/resctrl"},
	)
}

func (e *examiner) namespaces() {
	e.section = "namespaces"
	const rebuild = "bundles that ask for it (the default ones do) can't run: use a kernel built with it"
	e.features(
		need{host.MountNamespaces, true, rebuild},
		need{host.PidNamespaces, true, rebuild},
		need{host.NetNamespaces, true, rebuild},
		need{host.IpcNamespaces, true, rebuild},
		need{host.UtsNamespaces, true, rebuild},
		need{host.CgroupNamespaces, true, rebuild},
		need{host.TimeNamespaces, false, "bundles with a time namespace can't run"},
	)
	e.userNamespaces()
	e.rootless()
}

// userNamespaces tells whether one can be made, and what forbids it. Without
// root's privilege nothing runs without one.
func (e *examiner) userNamespaces() {
	add := e.lacking
	if !e.privileged {
		add = e.failed
	}
	err := host.UserNamespaces.Err()
	if err == nil {
		err = host.UserNamespaceLimits(e.privileged)
		if err == nil {
			err = host.TryUserNamespace()
		}
	}
	if err == nil {
		e.add(Check{Name: "user namespaces", Detail: "one could be made", Since: host.UserNamespaces.Since})
		return
	}
	advice := "bundles with a user namespace can't run"
	if strings.Contains(err.Error(), "sysctl") {
		advice += ": change the sysctl named here (sysctl -w NAME=VALUE, and in /etc/sysctl.d)"
	} else {
		advice += ": something forbids it, be it a sysctl, a container or a security module"
	}
	add("user namespaces", err.Error(), advice)
}

// rootless looks for what users without root's privilege need besides.
func (e *examiner) rootless() {
	for _, tool := range []string{"newuidmap", "newgidmap"} {
		if path := lookPath(tool); path != "" {
			e.ok(tool, path)
		} else {
			e.lacking(tool, "not found in PATH", "rootless containers get a single uid and gid only: apt install uidmap")
		}
	}
	if e.privileged {
		return
	}
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		if b, err := os.ReadFile(file); err != nil || len(strings.TrimSpace(string(b))) == 0 {
			e.lacking(file, "grants no ids", "rootless containers get a single id only: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER")
		} else {
			e.ok(file, "grants ids")
		}
	}
}

// lookPath returns the program of a name that PATH leads to, or "".
func lookPath(name string) string {
	for dir := range strings.SplitSeq(os.Getenv("PATH"), ":") {
		path := dir + "/" + name
		if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// readWord returns what stands in a small file of procfs or sysfs.
func readWord(path string) (string, error) {
	b, err := os.ReadFile(path)
	return strings.TrimSpace(string(b)), err
}
