package unify

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
)

// processes calls f for every process.
func processes(f func(pid string)) error {
	d, err := os.Open("/proc")
	if err != nil {
		return err
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	for _, n := range names {
		if n[0] >= '1' && n[0] <= '9' {
			f(n)
		}
	}
	return err
}

// eachMount calls f for every mount in every mount namespace that a process is in.
func eachMount(f func(pid string, m *host.Mount)) error {
	seen := map[string]bool{}
	return processes(func(pid string) {
		ns, err := os.Readlink("/proc/" + pid + "/ns/mnt")
		if err != nil || seen[ns] {
			return
		}
		seen[ns] = true
		mounts, _ := host.Mounts(pid) // it may have gone
		for i := range mounts {
			f(pid, &mounts[i])
		}
	})
}

// layers are the directories that an overlay's options name.
func layers(m *host.Mount) (upper []string, lower []string) {
	for _, o := range strings.Split(m.Super, ",") {
		k, v, _ := strings.Cut(o, "=")
		switch k {
		case "upperdir", "workdir":
			upper = append(upper, v)
		case "lowerdir", "lowerdir+", "datadir+":
			for _, l := range strings.Split(v, ":") {
				if l != "" {
					lower = append(lower, l)
				}
			}
		}
	}
	return upper, lower
}

func within(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// inUse says why a tree must not be replaced: it is somebody's root or working directory, an overlay's layer, or mounted
// somewhere (as a running container's root is). Paths in other mount namespaces are compared by device and path in the
// filesystem.
func inUse(paths []string) (map[string]error, error) {
	why := map[string]error{}
	// Where the trees are in their filesystem, as mountinfo's fourth field says it.
	own, err := host.Mounts("self")
	if err != nil {
		return nil, fmt.Errorf("mounts: %w", err)
	}
	type mountedAt struct{ dev, path string }
	places := map[string]mountedAt{}
	for _, p := range paths {
		best := ""
		for _, m := range own {
			if (within(p, m.Point) || m.Point == "/") && len(m.Point) >= len(best) {
				best = m.Point
				places[p] = mountedAt{m.Device, strings.TrimSuffix(m.Root, "/") + strings.TrimPrefix(p, strings.TrimSuffix(m.Point, "/"))}
			}
		}
	}
	note := func(p, format string, args ...any) {
		if why[p] == nil {
			why[p] = fmt.Errorf(format, args...)
		}
	}
	err = eachMount(func(pid string, m *host.Mount) {
		for _, p := range paths {
			if at := places[p]; m.Device == at.dev && within(m.Root, at.path) {
				note(p, "it is mounted at %s in the mount namespace of process %s: is a container running in it?", m.Point, pid)
			}
			if m.Type != "overlay" {
				continue
			}
			upper, lower := layers(m)
			for _, u := range upper {
				if within(u, p) || within(p, u) {
					note(p, "it is the upper layer of the overlay mounted at %s (process %s)", m.Point, pid)
				}
			}
			for _, l := range lower {
				if within(l, p) { // a tree somewhere below a layer is not that overlay's to protect
					note(p, "it is a lower layer of the overlay mounted at %s (process %s)", m.Point, pid)
				}
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("mounts: %w", err)
	}
	self := strconv.Itoa(os.Getpid())
	err = processes(func(pid string) {
		for _, what := range []string{"root", "cwd", "exe"} {
			at, err := os.Readlink("/proc/" + pid + "/" + what)
			if err != nil || at == "/" || pid == self && what == "cwd" {
				continue
			}
			for _, p := range paths {
				if within(at, p) {
					note(p, "process %s has its %s in it", pid, map[string]string{"root": "root directory", "cwd": "working directory", "exe": "program"}[what])
				}
			}
		}
	})
	return why, err
}

// writers finds processes that have something below one of the directories in parent open for writing, or that are there,
// by those directories' names.
func writers(parent string) (map[string]error, error) {
	found := map[string]error{}
	note := func(at, format string, args ...any) {
		name, _, _ := strings.Cut(strings.TrimPrefix(at, parent+"/"), "/")
		if found[name] == nil {
			found[name] = fmt.Errorf(format, args...)
		}
	}
	self := strconv.Itoa(os.Getpid())
	err := processes(func(pid string) {
		base := "/proc/" + pid
		for _, what := range []string{"/root", "/cwd"} {
			if at, err := os.Readlink(base + what); err == nil && strings.HasPrefix(at, parent+"/") {
				note(at, "process %s is in it", pid)
			}
		}
		if pid == self {
			return
		}
		fds, err := os.Open(base + "/fd")
		if err != nil {
			return
		}
		defer fds.Close()
		names, _ := fds.Readdirnames(-1)
		for _, n := range names {
			at, err := os.Readlink(base + "/fd/" + n)
			if err != nil || !strings.HasPrefix(at, parent+"/") {
				continue
			}
			if b, err := os.ReadFile(base + "/fdinfo/" + n); err == nil && (writable(string(b)) || isDir(base+"/fd/"+n)) {
				if _, in, ok := strings.Cut(strings.TrimPrefix(at, parent+"/"), "/"); ok {
					note(at, "process %s has %s open for writing", pid, in)
				} else {
					note(at, "process %s has the directory itself open: is it another vsrun?", pid)
				}
			}
		}
	})
	return found, err
}

// isDir says whether a descriptor is a directory's, in which something may be made.
func isDir(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

// writable reads the flags in fdinfo (proc_pid_fdinfo(5)).
func writable(info string) bool {
	for _, line := range strings.Split(info, "\n") {
		if v, ok := strings.CutPrefix(line, "flags:"); ok {
			flags, err := strconv.ParseUint(strings.TrimSpace(v), 8, 64)
			return err != nil || flags&unix.O_ACCMODE != unix.O_RDONLY
		}
	}
	return true
}
