package harness

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// TagEnv is the environment variable by which a process is known to belong
// to a test: the harness sets it for the runtime, mkbundle for the container.
const TagEnv = "VSRUN_TEST_TAG"

// Leaks lists what still exists of a test: mounts below dir, cgroups whose
// name holds tag, processes that carry tag in their environment or that
// live below dir, and container directories in the state roots.
// It looks again for a short while, since a killed process takes its time.
func Leaks(tag, dir string, roots ...string) []string {
	var found []string
	Poll(10*time.Second, func() bool {
		found = append(append(mountLeaks(dir), cgroupLeaks(tag)...), processLeaks(tag, dir)...)
		for _, r := range roots {
			entries, err := os.ReadDir(r)
			if err != nil {
				continue
			}
			for _, e := range entries {
				found = append(found, "state: "+filepath.Join(r, e.Name()))
			}
		}
		for _, link := range xidLinks(dir) {
			found = append(found, "context id: "+link)
		}
		return len(found) == 0
	})
	return found
}

// Purge removes what Leaks finds, roughly, so that one failed test does not
// spoil the next one, and so that nothing is mounted when dir is removed.
func Purge(tag, dir string) {
	Poll(5*time.Second, func() bool {
		n := 0
		for _, p := range taggedProcesses(tag, dir) {
			n++
			_ = unix.Kill(p.pid, unix.SIGKILL)
		}
		return n == 0
	})
	for i := 0; i < 100 && len(mountLeaks(dir)) > 0; i++ {
		for _, m := range mountPoints(dir) {
			_ = unix.Unmount(m, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		}
	}
	for _, link := range xidLinks(dir) {
		_ = os.Remove(link)
	}
	Poll(3*time.Second, func() bool {
		n := 0
		for _, c := range taggedCgroups(tag) {
			_ = os.WriteFile(filepath.Join(c, "freezer.state"), []byte("THAWED"), 0)
			if os.Remove(c) != nil {
				n++
			}
		}
		return n == 0
	})
}

// xidLinks are the context ids of containers whose state is below dir.
func xidLinks(dir string) []string {
	var found []string
	links, _ := filepath.Glob("/run/vsrun-xid/*")
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && strings.HasPrefix(to, dir+"/") {
			found = append(found, link)
		}
	}
	return found
}

// RemoveTree removes a directory, but nothing that is still mounted in it.
func RemoveTree(dir string) {
	Purge(dir, dir)
	if len(mountPoints(dir)) == 0 {
		_ = os.RemoveAll(dir)
	}
}

func mountPoints(dir string) []string {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var points []string
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		p := unescapeMount(f[4])
		if p == dir || strings.HasPrefix(p, dir+"/") {
			points = append([]string{p}, points...) // last mounted first
		}
	}
	return points
}

func unescapeMount(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

func mountLeaks(dir string) []string {
	var found []string
	for _, m := range mountPoints(dir) {
		found = append(found, "mount: "+m)
	}
	return found
}

// cgroupRoots are the mount points of all hierarchies, found once: v1 and
// hybrid have one a controller.
func cgroupRoots() []string {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var roots []string
	for line := range strings.Lines(string(data)) {
		if pre, post, ok := strings.Cut(line, " - "); ok && strings.HasPrefix(post, "cgroup") {
			if f := strings.Fields(pre); len(f) > 4 {
				roots = append(roots, f[4])
			}
		}
	}
	return roots
}

func taggedCgroups(tag string) []string {
	var found []string
	for _, root := range cgroupRoots() {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return nil
			}
			if strings.Contains(path, tag) {
				found = append([]string{path}, found...) // the deepest first
			}
			return nil
		})
	}
	return found
}

func cgroupLeaks(tag string) []string {
	var found []string
	for _, c := range taggedCgroups(tag) {
		found = append(found, "cgroup: "+c)
	}
	return found
}

type process struct {
	pid  int
	what string
}

func taggedProcesses(tag, dir string) []process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	self := os.Getpid()
	var found []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == self {
			continue
		}
		base := "/proc/" + e.Name()
		env, _ := os.ReadFile(base + "/environ")
		cmdline, _ := os.ReadFile(base + "/cmdline")
		cgroup, _ := os.ReadFile(base + "/cgroup")
		mine := strings.Contains(string(env), TagEnv+"="+tag) || strings.Contains(string(cmdline), tag) ||
			strings.Contains(string(cgroup), tag)
		for _, l := range []string{"root", "cwd", "exe"} {
			to, err := os.Readlink(base + "/" + l)
			mine = mine || err == nil && (to == dir || strings.HasPrefix(to, dir+"/"))
		}
		if !mine {
			continue
		}
		stat, err := os.ReadFile(base + "/stat")
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		if strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X") {
			continue // ended: its parent only has to notice
		}
		found = append(found, process{pid, strings.ReplaceAll(strings.TrimRight(string(cmdline), "\x00"), "\x00", " ")})
	}
	return found
}

func processLeaks(tag, dir string) []string {
	var found []string
	for _, p := range taggedProcesses(tag, dir) {
		found = append(found, fmt.Sprintf("process: %d %s", p.pid, p.what))
	}
	return found
}

// Gone reports whether no live process has this id (a zombie is not alive).
func Gone(pid int) bool {
	if err := unix.Kill(pid, 0); err == syscall.ESRCH {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, "X")
}
