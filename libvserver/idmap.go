package libvserver

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/plan"
)

// writeIDMaps gives a new user namespace its maps (user_namespaces(7)). Without privilege, maps of more than the caller's
// own ids go through newuidmap(1) and newgidmap(1), which know /etc/subuid and /etc/subgid.
func writeIDMaps(pid int, c *plan.Clone) error {
	proc := "/proc/" + strconv.Itoa(pid)
	euid, egid := os.Geteuid(), os.Getegid()
	if euid != 0 && !own(c.UIDs, euid) {
		if err := mapHelper("newuidmap", pid, c.UIDs); err != nil {
			return fmt.Errorf("linux.uidMappings: %w", err)
		}
	} else if err := writeMap(proc+"/uid_map", c.UIDs); err != nil {
		return fmt.Errorf("linux.uidMappings: %w", err)
	}
	if euid != 0 && !own(c.GIDs, egid) {
		if err := mapHelper("newgidmap", pid, c.GIDs); err != nil {
			return fmt.Errorf("linux.gidMappings: %w", err)
		}
		return nil
	}
	if euid != 0 {
		if err := writeFile(proc+"/setgroups", "deny"); err != nil {
			return fmt.Errorf("linux.gidMappings: %w", err)
		}
	}
	if err := writeMap(proc+"/gid_map", c.GIDs); err != nil {
		return fmt.Errorf("linux.gidMappings: %w", err)
	}
	return nil
}

// own tells if a map is just the caller's own id, which needs no helper.
func own(m []plan.IDMap, id int) bool {
	return len(m) == 1 && m[0].Size == 1 && m[0].Host == uint32(id)
}

func writeMap(file string, m []plan.IDMap) error {
	var b []byte
	for _, e := range m {
		b = fmt.Appendf(b, "%d %d %d\n", e.Container, e.Host, e.Size)
	}
	return writeFile(file, string(b))
}

func writeFile(file, data string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(data)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

func mapHelper(name string, pid int, m []plan.IDMap) error {
	args := []string{name, strconv.Itoa(pid)}
	for _, e := range m {
		args = append(args, strconv.FormatUint(uint64(e.Container), 10), strconv.FormatUint(uint64(e.Host), 10), strconv.FormatUint(uint64(e.Size), 10))
	}
	path, err := lookPath(name)
	if err != nil {
		return err
	}
	out, err := runProgram(path, args)
	if err != nil {
		return fmt.Errorf("%s: %w: %s (are the ids in /etc/subuid and /etc/subgid?)", name, err, out)
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
	pid, err := syscall.ForkExec(path, args, &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{null.Fd(), w.Fd(), w.Fd()}})
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
