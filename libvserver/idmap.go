package libvserver

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/plan"
)

// writeIDMaps gives a new user namespace its maps (user_namespaces(7)). Without privilege, maps of more than the caller's
// own ids go through newuidmap(1) and newgidmap(1), which know /etc/subuid and /etc/subgid.
func writeIDMaps(pid int, c *plan.Clone) error {
	caps, err := host.OwnCaps()
	if err != nil {
		return os.NewSyscallError("capget", err)
	}
	proc, err := host.OpenProc()
	if err != nil {
		return err
	}
	defer unix.Close(proc)
	dir := strconv.Itoa(pid)
	if c.OwnUID || caps.Has(unix.CAP_SETUID) {
		err = writeMap(proc, dir+"/uid_map", c.UIDs)
	} else {
		err = mapHelper("newuidmap", "/etc/subuid", pid, c.UIDs)
	}
	if err != nil {
		return fmt.Errorf("linux.uidMappings: %w", err)
	}
	switch {
	case c.OwnGID:
		if err = host.WriteProc(proc, dir+"/setgroups", "deny"); err == nil {
			err = writeMap(proc, dir+"/gid_map", c.GIDs)
		}
	case caps.Has(unix.CAP_SETGID):
		err = writeMap(proc, dir+"/gid_map", c.GIDs)
	default:
		err = mapHelper("newgidmap", "/etc/subgid", pid, c.GIDs)
	}
	if err != nil {
		return fmt.Errorf("linux.gidMappings: %w", err)
	}
	return nil
}

// sameMaps checks that the maps of a user namespace that was joined are those that the configuration gives as well:
// containerd and CRI-O give both.
func sameMaps(pid int, l *specs.Linux) error {
	for _, m := range [...]struct {
		name string
		want []specs.LinuxIDMapping
	}{{"uid", l.UIDMappings}, {"gid", l.GIDMappings}} {
		if len(m.want) == 0 {
			continue
		}
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/" + m.name + "_map")
		if err != nil {
			return err
		}
		have := ""
		n := 0
		for line := range strings.Lines(string(text)) {
			f := strings.Join(strings.Fields(line), " ")
			have += ", " + f
			for _, w := range m.want {
				if f == fmt.Sprint(w.ContainerID, w.HostID, w.Size) {
					n++
				}
			}
		}
		if n != len(m.want) || n != strings.Count(have, ", ") {
			return fmt.Errorf("linux.%sMappings: they are not those of the user namespace to join, which has %s (leave them out)", m.name, strings.TrimPrefix(have, ", "))
		}
	}
	return nil
}

func writeMap(proc int, file string, m []plan.IDMap) error {
	var b []byte
	for _, e := range m {
		b = fmt.Appendf(b, "%d %d %d\n", e.Container, e.Host, e.Size)
	}
	err := host.WriteProc(proc, file, string(b))
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (all host ids must be ones of the runtime's own user namespace, see /proc/self/uid_map and gid_map; for host id 0 it also needs CAP_SETFCAP)", err)
	}
	return err
}

func mapHelper(name, ranges string, pid int, m []plan.IDMap) error {
	args := []string{name, strconv.Itoa(pid)}
	for _, e := range m {
		args = append(args, strconv.FormatUint(uint64(e.Container), 10), strconv.FormatUint(uint64(e.Host), 10), strconv.FormatUint(uint64(e.Size), 10))
	}
	path, err := lookPath(name)
	if err != nil {
		return fmt.Errorf("%w (without it only your own id can be mapped, one line of size 1; on Debian: apt install uidmap)", err)
	}
	out, err := runProgram(path, args)
	if err != nil {
		return fmt.Errorf("%s: %w: %s (%s must grant all ids but your own: see usermod --add-%ss)", name, err, out, ranges, strings.TrimPrefix(ranges, "/etc/"))
	}
	return nil
}

// lookPath finds a program in the absolute directories of PATH. (os/exec would do, at the price of a slower start: it
// brings in context and more.)
func lookPath(name string) (string, error) {
	for dir := range strings.SplitSeq(os.Getenv("PATH"), ":") {
		if !strings.HasPrefix(dir, "/") {
			continue
		}
		path := dir + "/" + name
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", errors.New(name + ": executable file not found in $PATH")
}

// runProgram runs a program without input and returns what it prints.
func runProgram(path string, args []string) (output string, err error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	pid, err := syscall.ForkExec(path, args, &syscall.ProcAttr{Env: []string{"PATH=" + os.Getenv("PATH")}, Files: []uintptr{null.Fd(), w.Fd(), w.Fd()}})
	w.Close()
	if err != nil {
		return "", fmt.Errorf("fork/exec %s: %w", path, err)
	}
	out, _ := io.ReadAll(r)
	var status unix.WaitStatus
	for {
		if _, err = unix.Wait4(pid, &status, 0, nil); err != unix.EINTR {
			break
		}
	}
	switch {
	case err != nil:
		err = fmt.Errorf("wait4: %w", err)
	case status.Signaled():
		err = fmt.Errorf("signal: %v", status.Signal())
	case status.ExitStatus() != 0:
		err = fmt.Errorf("exit status %d", status.ExitStatus())
	}
	return strings.TrimSpace(string(out)), err
}
