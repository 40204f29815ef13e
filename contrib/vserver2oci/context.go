package main

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/spec"
)

// secure are the capabilities that Linux-VServer left to guests.
var secure = []string{"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "NET_BIND_SERVICE",
	"SYS_CHROOT", "SYS_PTRACE", "SYS_TTY_CONFIG", "LEASE", "SETFCAP", "SYS_BOOT", "AUDIT_WRITE"}

// capabilities: bcapabilities adds to the secure ones, with ~ takes away.
func capabilities(g *guest) {
	list := slices.Clone(secure)
	for _, w := range g.words("bcapabilities") {
		name, away := strings.CutPrefix(strings.ToUpper(w), "~")
		name = strings.TrimPrefix(name, "CAP_")
		switch {
		case name == "SECURE":
		case away:
			list = slices.DeleteFunc(list, func(c string) bool { return c == name })
		case !slices.Contains(list, name):
			list = append(list, name)
		}
	}
	caps := make([]string, len(list))
	for i, c := range list {
		caps[i] = "CAP_" + c
	}
	g.s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
	for _, w := range g.words("ccapabilities") {
		switch strings.ToLower(w) {
		case "raw_icmp", "icmp", "ping":
			g.ping = true
		case "secure":
		default:
			g.note("ccapabilities: %s: not taken over: the kernel knows no parts of a capability", w)
		}
	}
	for _, w := range g.words("ncapabilities") {
		if w = strings.ToLower(w); w == "raw_icmp" || w == "icmp" || w == "ping" {
			g.ping = true
		} else {
			g.note("ncapabilities: %s: not taken over", w)
		}
	}
	if g.has("umask") {
		g.note("umask: not taken over: without CAP_SYS_ADMIN a guest makes no namespaces but a user's")
	}
}

// context is the id and the flags.
func context(g *guest) {
	g.annotate("context", "context.xid", g.text("context"))
	for _, file := range []string{"flags", "cflags"} {
		for _, w := range g.words(file) {
			g.annotate(file, "context.flags", strings.ToLower(w))
		}
	}
	if g.has("shell") {
		g.note("shell: not taken over: vsrun enter takes the first of bash, ash and sh")
	}
}

// network: a guest has the host's network, and of it its own addresses.
func network(g *guest) {
	l := g.s.Linux
	if g.has("spaces/net") {
		g.note("spaces/net: the guest gets a network namespace of its own, which a hook has to connect")
		g.entries("interfaces")
		return
	}
	l.Namespaces = slices.DeleteFunc(l.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
	var addresses []string
	prefix := g.text("interfaces/prefix")
	dev := g.text("interfaces/dev")
	for _, n := range []string{"bcast", "mask", "scope"} {
		g.has("interfaces/" + n)
	}
	for _, n := range g.entries("interfaces") {
		dir := "interfaces/" + n
		if st, err := os.Stat(filepath.Join(g.dir, dir)); err != nil || !st.IsDir() {
			continue
		}
		ip := g.text(dir + "/ip")
		own, bits, _ := strings.Cut(ip, "/")
		if own != "" {
			addresses = append(addresses, own)
		}
		p, d := g.text(dir+"/prefix"), g.text(dir+"/dev")
		if p == "" {
			if p = bits; p == "" {
				p = prefix
			}
		}
		if d == "" {
			d = dev
		}
		for _, f := range []string{"mask", "scope", "name", "bcast"} {
			g.has(dir + "/" + f)
		}
		if !g.has(dir+"/nodev") && own != "" && d != "" {
			g.note("%s: the host has to have the address: ip address add %s/%s dev %s", dir, own, p, d)
		}
	}
	if g.has("noncontext") || g.has("nonetwork") {
		g.note("noncontext: the guest has the host's whole network")
		return
	}
	if len(addresses) == 0 {
		g.note("interfaces: no addresses: the guest has the host's whole network")
	}
	g.annotate("interfaces", "net.addresses", strings.Join(addresses, ","))
	g.annotate("ncontext", "net.nid", g.text("ncontext"))
	g.annotate("interfaces/lback", "net.loopback", g.text("interfaces/lback"))
	if g.ping {
		g.annotate("ccapabilities", "net.raw-icmp", "true")
	}
	for _, w := range g.words("nflags") {
		switch w = strings.ToLower(w); w {
		case "single_ip":
			g.annotate("nflags", "net.single-ip", "true")
		case "hide_netif":
			g.annotate("nflags", "net.hide-netif", "true")
		case "lback_remap", "hide_lback", "state_admin", "state_setup", "sc_helper":
		default:
			g.note("nflags: %s: not taken over", w)
		}
	}
}

// limits are those of the whole context.
func limits(g *guest) {
	for _, n := range g.entries("rlimits") {
		g.annotate("rlimits/"+n, "rlimits."+n, g.text("rlimits/"+n))
	}
}

// disk: of limits there is one, that of the guest's own files.
func disk(g *guest) {
	for _, n := range g.entries("dlimits") {
		at := "dlimits/" + n + "/"
		dir := g.text(at + "directory")
		space, inodes := g.text(at+"space_total"), g.text(at+"inodes_total")
		if g.text(at+"reserved") != "" {
			g.note("%sreserved: not taken over: quotas keep nothing back for root", at)
		}
		if dir != "" && filepath.Clean(dir) != filepath.Clean(g.s.Root.Path) && filepath.Clean(dir) != "/" {
			g.note("%s: not taken over: limits are those of the root filesystem, not of %s", at, dir)
			continue
		}
		if kib, err := strconv.ParseUint(space, 10, 64); err == nil { // blocks of 1 KiB
			g.annotate(at+"space_total", "disk.space", strconv.FormatUint(kib, 10)+"K")
		}
		g.annotate(at+"inodes_total", "disk.inodes", inodes)
	}
	if slices.ContainsFunc(g.asked, func(a asked) bool { return strings.HasPrefix(a.key, spec.VServerPrefix+"disk.") }) {
		g.note("dlimits: a limit needs a root filesystem with a layer of its own: vsrun unify")
	}
	if g.has("apps/vunify") || g.has("apps/vunify/hash") {
		for _, n := range g.entries("apps/vunify") {
			g.read["apps/vunify/"+n] = true
		}
		g.note("apps/vunify: vsrun unify does it, for the trees that it is given")
	}
}

func sysctls(g *guest) {
	for _, n := range g.entries("sysctl") {
		key, value := g.text("sysctl/"+n+"/setting"), g.text("sysctl/"+n+"/value")
		if key == "" {
			continue
		}
		if g.s.Linux.Sysctl == nil {
			g.s.Linux.Sysctl = map[string]string{}
		}
		g.s.Linux.Sysctl[strings.ReplaceAll(key, "/", ".")] = value
	}
}

// scheduler is the token bucket.
func scheduler(g *guest) {
	for _, n := range g.entries("sched") {
		g.annotate("sched/"+n, "sched."+n, g.text("sched/"+n))
	}
}

func cgroup(g *guest) {
	r := g.s.Linux.Resources
	cpus, mems := g.text("cpuset/cpus"), g.text("cpuset/mems")
	if cpus != "" || mems != "" {
		r.CPU = &specs.LinuxCPU{Cpus: cpus, Mems: mems}
	}
	g.has("cpuset/name")
	g.has("cpuset/nocreate")
	for _, n := range g.entries("cgroup") {
		value := g.text("cgroup/" + n)
		if !strings.Contains(n, ".") {
			g.note("cgroup/%s: not taken over: it is not a file of cgroup2", n)
			continue
		}
		if r.Unified == nil {
			r.Unified = map[string]string{}
		}
		r.Unified[n] = value
		g.note("cgroup/%s: taken as a file of cgroup2", n)
	}
}
