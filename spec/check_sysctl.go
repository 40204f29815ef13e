package spec

import (
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/spec/wire"
)

// SysctlPath gives the path of a kernel parameter below /proc/sys. Its name may
// be written with dots or slashes; the separator that comes first is the one
// that separates, the other is part of the names: both net.ipv4.conf.eth0/1.rp_filter
// and net/ipv4/conf/eth0.1/rp_filter are net/ipv4/conf/eth0.1/rp_filter
// (sysctl.d(5)). It is not ok if a name in it is empty, "." or "..".
func SysctlPath(name string) (path string, ok bool) {
	p := []byte(name)
	if i := strings.IndexAny(name, "./"); i >= 0 && name[i] == '.' {
		for j, b := range p {
			switch b {
			case '.':
				p[j] = '/'
			case '/':
				p[j] = '.'
			}
		}
	}
	path = string(p)
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." {
			return "", false
		}
	}
	return path, strings.IndexByte(path, 0) < 0
}

// sysctls checks linux.sysctl: only what belongs to a namespace that is not the
// host's may be set (CVE-2022-0811).
func (c *checker) sysctls(sysctl map[string]string) {
	if len(sysctl) == 0 {
		return
	}
	const where = "linux.sysctl"
	for _, name := range wire.SortedKeys(sysctl) {
		path, ok := SysctlPath(name)
		if !ok {
			c.fault(key(where, name), "is not the name of a kernel parameter")
			continue
		}
		if msg := c.sysctl(path); msg != "" {
			c.fault(key(where, name), msg)
		}
		if value := sysctl[name]; strings.IndexByte(value, 0) >= 0 {
			c.nul(top(key(where, name)), value)
		}
	}
}

// sysctl says why a kernel parameter may not be set, "" if it may.
func (c *checker) sysctl(path string) string {
	switch path {
	case "kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem", "kernel/shmall", "kernel/shmmax", "kernel/shmmni", "kernel/shm_rmid_forced":
		return c.needs(nsIPC, "ipc")
	case "kernel/domainname":
		return c.needs(nsUTS, "uts")
	case "kernel/hostname":
		return "is not allowed: set hostname instead"
	}
	switch {
	case strings.HasPrefix(path, "fs/mqueue/"):
		return c.needs(nsIPC, "ipc")
	case strings.HasPrefix(path, "user/"):
		return c.needs(nsUser, "user")
	case strings.HasPrefix(path, "net/"):
		if msg := c.needs(nsNetwork, "network"); msg != "" {
			return msg
		}
		if c.host && c.joinsOwnNetwork() {
			return "is not allowed: the network namespace to join is the host's"
		}
		return ""
	}
	return "is not allowed: it belongs to no namespace, so it would be set on the host"
}

func (c *checker) needs(ns namespaceSet, name string) string {
	if c.ns.has(ns) {
		return ""
	}
	return "needs a " + name + " namespace in linux.namespaces"
}

// joinsOwnNetwork says whether the network namespace to join is the one that
// this process is in. If that cannot be seen, joining will tell.
func (c *checker) joinsOwnNetwork() bool {
	path, _ := Namespace(c.spec, specs.NetworkNamespace)
	if path == "" {
		return false
	}
	var own, other unix.Stat_t
	return unix.Stat("/proc/self/ns/net", &own) == nil && unix.Stat(path, &other) == nil &&
		own.Dev == other.Dev && own.Ino == other.Ino
}
